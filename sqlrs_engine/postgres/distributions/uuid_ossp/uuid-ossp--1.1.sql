/* The functions of uuid-ossp in SQL, for builds of PostgreSQL without the library. */

CREATE FUNCTION uuid_nil() RETURNS uuid
IMMUTABLE STRICT PARALLEL SAFE LANGUAGE sql
RETURN '00000000-0000-0000-0000-000000000000'::uuid;

CREATE FUNCTION uuid_ns_dns() RETURNS uuid
IMMUTABLE STRICT PARALLEL SAFE LANGUAGE sql
RETURN '6ba7b810-9dad-11d1-80b4-00c04fd430c8'::uuid;

CREATE FUNCTION uuid_ns_url() RETURNS uuid
IMMUTABLE STRICT PARALLEL SAFE LANGUAGE sql
RETURN '6ba7b811-9dad-11d1-80b4-00c04fd430c8'::uuid;

CREATE FUNCTION uuid_ns_oid() RETURNS uuid
IMMUTABLE STRICT PARALLEL SAFE LANGUAGE sql
RETURN '6ba7b812-9dad-11d1-80b4-00c04fd430c8'::uuid;

CREATE FUNCTION uuid_ns_x500() RETURNS uuid
IMMUTABLE STRICT PARALLEL SAFE LANGUAGE sql
RETURN '6ba7b814-9dad-11d1-80b4-00c04fd430c8'::uuid;

-- Time in units of 100 ns since 1582-10-15; the clock gives microseconds, the rest is random. A
-- random node with the multicast bit set, as RFC 9562 allows instead of a network address.
CREATE FUNCTION uuid_generate_v1mc() RETURNS uuid
VOLATILE STRICT PARALLEL SAFE LANGUAGE sql
RETURN (
  SELECT (substr(ticks, 9, 8) || substr(ticks, 5, 4) || '1' || substr(ticks, 2, 3)
          || substr(random, 17, 4)
          || substr(random, 1, 1) || translate(substr(random, 2, 1), '02468ace', '13579bdf')
          || substr(random, 3, 10))::uuid
  FROM (
    SELECT
      lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000000)::int8 * 10
                  + floor(random() * 10)::int8 + 122192928000000000), 16, '0') AS ticks,
      replace(gen_random_uuid()::text, '-', '') AS random
    OFFSET 0
  ) AS now
);

CREATE FUNCTION uuid_generate_v1() RETURNS uuid
VOLATILE STRICT PARALLEL SAFE LANGUAGE sql
RETURN uuid_generate_v1mc();

CREATE FUNCTION uuid_generate_v3(namespace uuid, name text) RETURNS uuid
IMMUTABLE STRICT PARALLEL SAFE LANGUAGE sql
RETURN (
  SELECT (substr(hash, 1, 12) || '3' || substr(hash, 14, 3)
          || translate(substr(hash, 17, 1), '0123456789abcdef', '89ab89ab89ab89ab')
          || substr(hash, 18))::uuid
  FROM (
    SELECT md5(uuid_send(namespace) || convert_to(name, getdatabaseencoding())) AS hash
  ) AS hashed
);

CREATE FUNCTION uuid_generate_v4() RETURNS uuid
VOLATILE STRICT PARALLEL SAFE LANGUAGE sql
RETURN gen_random_uuid();

-- PostgreSQL's core has no SHA-1 (FIPS 180-4).
CREATE FUNCTION uuid_generate_v5(namespace uuid, name text) RETURNS uuid
IMMUTABLE STRICT PARALLEL SAFE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  mask CONSTANT int8 := x'ffffffff'::int8;
  message bytea := uuid_send(namespace) || convert_to(name, getdatabaseencoding());
  bits CONSTANT int8 := length(message) * 8;
  h int8[] := ARRAY[x'67452301'::int8, x'efcdab89'::int8, x'98badcfe'::int8,
                    x'10325476'::int8, x'c3d2e1f0'::int8];
  w int8[];
  a int8; b int8; c int8; d int8; e int8; f int8; k int8; word int8;
  hash text;
BEGIN
  message := message || '\x80'::bytea
    || decode(repeat('00', (119 - length(message) % 64) % 64), 'hex') || int8send(bits);
  FOR start IN 0 .. length(message) - 1 BY 64 LOOP
    a := h[1]; b := h[2]; c := h[3]; d := h[4]; e := h[5];
    FOR i IN 0 .. 79 LOOP
      IF i < 16 THEN
        word := (get_byte(message, start + i * 4)::int8 << 24)
          | (get_byte(message, start + i * 4 + 1) << 16)
          | (get_byte(message, start + i * 4 + 2) << 8)
          | get_byte(message, start + i * 4 + 3);
      ELSE
        word := w[i - 3] # w[i - 8] # w[i - 14] # w[i - 16];
        word := ((word << 1) | (word >> 31)) & mask;
      END IF;
      w[i] := word;
      IF i < 20 THEN
        f := (b & c) | ((~ b) & d); k := x'5a827999'::int8;
      ELSIF i < 40 THEN
        f := b # c # d; k := x'6ed9eba1'::int8;
      ELSIF i < 60 THEN
        f := (b & c) | (b & d) | (c & d); k := x'8f1bbcdc'::int8;
      ELSE
        f := b # c # d; k := x'ca62c1d6'::int8;
      END IF;
      f := ((((a << 5) | (a >> 27)) & mask) + (f & mask) + e + k + word) & mask;
      e := d; d := c; c := ((b << 30) | (b >> 2)) & mask; b := a; a := f;
    END LOOP;
    h := ARRAY[(h[1] + a) & mask, (h[2] + b) & mask, (h[3] + c) & mask,
               (h[4] + d) & mask, (h[5] + e) & mask];
  END LOOP;
  hash := lpad(to_hex(h[1]), 8, '0') || lpad(to_hex(h[2]), 8, '0')
    || lpad(to_hex(h[3]), 8, '0') || lpad(to_hex(h[4]), 8, '0');
  RETURN (substr(hash, 1, 12) || '5' || substr(hash, 14, 3)
    || translate(substr(hash, 17, 1), '0123456789abcdef', '89ab89ab89ab89ab')
    || substr(hash, 18))::uuid;
END
$$;
