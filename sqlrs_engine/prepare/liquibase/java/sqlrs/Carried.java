package sqlrs;

import java.net.URLDecoder;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Supplier;
import liquibase.changelog.ChangeLogHistoryService;

/**
 * What one database session hands to the next: with Liquibase, all changesets are of the same one.
 *
 * <p>Settings by their names; sequences, behind {@code "sequence "}, by their current values; and how
 * far Liquibase has counted, where its table does not say.
 */
final class Carried {
    // No setting has a space in its name.
    private static final String SEQUENCE = "sequence ";
    private static final String COUNTED = "order executed";

    private static final String SETTINGS =
            "SELECT name, setting FROM pg_catalog.pg_settings"
                    + " WHERE source = 'session' AND context <> 'internal'"
                    + " UNION ALL SELECT 'role', pg_catalog.current_setting('role')"
                    + " WHERE pg_catalog.current_setting('role') <> 'none'"
                    + " UNION ALL SELECT 'session_authorization', session_user"
                    + " WHERE session_user <> ?";

    /** Settings that PostgreSQL does not know: it tells their values, but does not list them. */
    private static final String CUSTOM =
            "SELECT name, pg_catalog.current_setting(name, true)"
                    + " FROM pg_catalog.unnest(?::text[]) AS given (name)"
                    + " WHERE pg_catalog.current_setting(name, true) IS NOT NULL AND NOT EXISTS"
                    + " (SELECT FROM pg_catalog.pg_settings s WHERE lower(s.name) = lower(given.name))";

    private static final String FUNCTIONS =
            "SELECT prosrc FROM pg_catalog.pg_proc p WHERE pronamespace NOT IN"
                    + " ('pg_catalog'::pg_catalog.regnamespace,"
                    + " 'information_schema'::pg_catalog.regnamespace)"
                    + " AND prosrc ~* '\\m(set_config|set\\s+(session\\s+)?[\\w$\"]+\\.)'";

    /** What the session before did not see: it had begun when the database or role was altered. */
    private static final String LATER =
            "SELECT name, coalesce((SELECT f.setting FROM pg_catalog.pg_file_settings f"
                    + " WHERE f.name = s.name ORDER BY f.seqno DESC LIMIT 1), s.boot_val, '')"
                    + " FROM pg_catalog.pg_settings s"
                    + " WHERE source IN ('database', 'user', 'database user')"
                    + " UNION ALL SELECT name, '' FROM"
                    + " (SELECT pg_catalog.split_part(pg_catalog.unnest(setconfig), '=', 1) AS name"
                    + " FROM pg_catalog.pg_db_role_setting) altered WHERE name LIKE '%.%'"
                    + " AND NOT EXISTS (SELECT FROM pg_catalog.pg_settings s"
                    + " WHERE s.name = altered.name)"
                    + " AND pg_catalog.current_setting(name, true) IS NOT NULL";

    /** A cache is of one session alone, so what is left in it cannot be handed on. */
    private static final String SEQUENCES =
            "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname),"
                    + " pg_catalog.pg_sequence_last_value(c.oid) FROM pg_catalog.pg_class c"
                    + " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
                    + " JOIN pg_catalog.pg_sequence q ON q.seqrelid = c.oid"
                    + " WHERE q.seqcache = 1 AND c.relpersistence <> 't'";

    /** The driver's own statements are no text of SQL. */
    private static final String PREPARED =
            "SELECT pg_catalog.quote_ident(name) FROM pg_catalog.pg_prepared_statements"
                    + " WHERE from_sql";

    private final Connection connection;
    private final String login;
    private final Map<String, String> given = new LinkedHashMap<>();
    private Map<String, String> sequences = new LinkedHashMap<>();

    Carried(Connection connection, String login) {
        this.connection = connection;
        this.login = login;
    }

    /** Make a new session what an earlier one was, given as the query of a URL. */
    void restore(String query) throws Exception {
        for (String each : query.split("&")) {
            String[] pair = each.split("=", 2);
            if (pair.length == 2) {
                given.put(URLDecoder.decode(pair[0], "UTF-8"), URLDecoder.decode(pair[1], "UTF-8"));
            }
        }
        for (Map.Entry<String, String> each : given.entrySet()) {
            if (each.getKey().startsWith(SEQUENCE)) {
                String name = each.getKey().substring(SEQUENCE.length());
                // The last call makes it the one that lastval() is about.
                run("SELECT pg_catalog.setval(?::regclass, ?::bigint, false)", name, each.getValue());
                run("SELECT pg_catalog.nextval(?::regclass)", name);
            }
        }
        sequences = pairs(SEQUENCES);
        Map<String, String> settings = pairs(LATER);
        settings.putAll(given);
        for (Map.Entry<String, String> each : settings.entrySet()) {
            if (each.getKey().indexOf(' ') < 0) {
                String name = each.getKey();
                run("SELECT pg_catalog.set_config(?, ?, false)", name, each.getValue());
            }
        }
        connection.commit();
    }

    /**
     * End what no other session could be given, before the next changeset of the same session.
     *
     * <p>Whether a changeset works must not depend on where sessions end.
     */
    void separate() throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.execute("DISCARD TEMP");
            statement.execute("CLOSE ALL");
            for (String name : pairs(PREPARED).keySet()) {
                statement.execute("DEALLOCATE " + name);
            }
        }
        connection.commit();
    }

    /** Return what the session leaves; {@code heard} are the settings that its SQL speaks of. */
    Map<String, String> left(Heard heard) throws SQLException {
        Map<String, String> left = new TreeMap<>(pairs(SETTINGS, login));
        for (String body : pairs(FUNCTIONS).keySet()) {
            heard.names(body);
        }
        given.keySet().stream().filter(name -> name.indexOf(' ') < 0).forEach(heard.names::add);
        left.putAll(custom(heard.names.toArray()));
        try (Statement statement = connection.createStatement()) {
            statement.execute("RESET SESSION AUTHORIZATION");
            statement.execute("RESET ROLE");
        }
        Map<String, String> all = new LinkedHashMap<>(left);
        all.putAll(current());
        connection.commit();
        return all;
    }

    /** Have Liquibase go on counting the changesets it runs where the session before ended. */
    void count(ChangeLogHistoryService history) throws Exception {
        if (given.containsKey(COUNTED)) {
            int end = Integer.parseInt(given.get(COUNTED));
            while (history.getNextSequenceValue() < end) {
                continue;
            }
        }
    }

    /** Return how far Liquibase has counted, if that is farther than the database tells. */
    Map<String, String> counted(
            ChangeLogHistoryService history, Supplier<ChangeLogHistoryService> fresh)
            throws Exception {
        int counted = history.getNextSequenceValue() - 1;
        boolean told = counted <= fresh.get().getNextSequenceValue() - 1;
        fresh.get();
        connection.commit();
        return told
                ? Collections.emptyMap()
                : Collections.singletonMap(COUNTED, String.valueOf(counted));
    }

    private Map<String, String> custom(Object[] names) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement(CUSTOM)) {
            statement.setArray(1, connection.createArrayOf("text", names));
            return pairs(statement);
        }
    }

    /** Return the sequences whose current value the session knows, the one it used last at the end. */
    private Map<String, String> current() throws SQLException {
        Map<String, String> current = new LinkedHashMap<>();
        for (Map.Entry<String, String> each : pairs(SEQUENCES).entrySet()) {
            String name = each.getKey();
            String value = each.getValue();
            boolean touched =
                    given.containsKey(SEQUENCE + name) || !value.equals(sequences.get(name));
            if (touched && value.equals(ask("SELECT pg_catalog.currval(?::regclass)", name))) {
                current.put(SEQUENCE + name, value);
            }
        }
        String last = current.isEmpty() ? null : ask("SELECT pg_catalog.lastval()");
        for (String name : current.keySet().toArray(new String[0])) {
            if (current.get(name).equals(last)) {
                current.remove(name);
                current.put(name, last);
                break;
            }
        }
        return current;
    }

    /** Return the one value of a query, null when the session has none. */
    private String ask(String query, String... arguments) throws SQLException {
        Savepoint before = connection.setSavepoint();
        try (PreparedStatement statement = prepared(query, arguments);
                ResultSet rows = statement.executeQuery()) {
            return rows.next() ? rows.getString(1) : null;
        } catch (SQLException undefined) {
            if (!"55000".equals(undefined.getSQLState())) {
                throw undefined;
            }
            connection.rollback(before);
            return null;
        }
    }

    private void run(String query, String... arguments) throws SQLException {
        try (PreparedStatement statement = prepared(query, arguments)) {
            statement.execute();
        }
    }

    private Map<String, String> pairs(String query, String... arguments) throws SQLException {
        try (PreparedStatement statement = prepared(query, arguments)) {
            return pairs(statement);
        }
    }

    /** Return the rows of a query; those whose second column is null are left out. */
    private static Map<String, String> pairs(PreparedStatement statement) throws SQLException {
        Map<String, String> pairs = new LinkedHashMap<>();
        try (ResultSet rows = statement.executeQuery()) {
            while (rows.next()) {
                String second = rows.getMetaData().getColumnCount() > 1 ? rows.getString(2) : "";
                if (second != null) {
                    pairs.put(rows.getString(1), second);
                }
            }
        }
        return pairs;
    }

    private PreparedStatement prepared(String query, String... arguments) throws SQLException {
        PreparedStatement statement = connection.prepareStatement(query);
        for (int i = 0; i < arguments.length; i++) {
            statement.setString(i + 1, arguments[i]);
        }
        return statement;
    }
}
