INSERT INTO bikeshare.rider (name, email, plan_id, joined)
SELECT given || ' ' || family,
       lower(given || '.' || family) || n || '@example.org',
       CASE WHEN n % 10 < 5 THEN 1 WHEN n % 10 < 9 THEN 2 ELSE 3 END,
       date '2025-03-01' + (n * 7) % 300
FROM generate_series(1, :riders) AS n,
     LATERAL (SELECT (ARRAY['Ada', 'Bruno', 'Chidi', 'Dorota', 'Emre', 'Freya', 'Goran',
                            'Hana', 'Ilya', 'Juno', 'Kaisa', 'Luca', 'Mira'])[1 + n % 13] AS given,
                     (ARRAY['Almeida', 'Berg', 'Conti', 'Dahl', 'Esposito', 'Fischer', 'Grabowska',
                            'Haddad', 'Ivanova', 'Jensen', 'Kowalski'])[1 + n % 11] AS family) AS who;
