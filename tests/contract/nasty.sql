-- Everything that copy tools are known to stumble over. Run with search_path at the schema that is
-- to hold it, `public` behind it for the extensions.

-- --- types ---------------------------------------------------------------------------------------
CREATE TYPE mood AS ENUM ('sad', 'it''s ok', 'ha"ppy', 'z');
CREATE TYPE address AS (street text, "house No" integer, moods mood[]);
CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
CREATE DOMAIN addresses AS address[] CHECK (cardinality(VALUE) < 9);
CREATE TYPE money_range AS RANGE (subtype = numeric, multirange_type_name = money_multirange);
CREATE TYPE mood_range AS RANGE (subtype = mood);
CREATE COLLATION backwards (provider = icu, locale = 'de-u-co-phonebk');
CREATE FUNCTION near(integer, integer) RETURNS boolean LANGUAGE sql IMMUTABLE
    RETURN abs($1 - $2) < 10;
CREATE OPERATOR <~> (LEFTARG = integer, RIGHTARG = integer, FUNCTION = near);
CREATE FUNCTION add_up(bigint, positive) RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT $1 + $2';
CREATE AGGREGATE total(positive) (SFUNC = add_up, STYPE = bigint, INITCOND = '0');
CREATE TEXT SEARCH DICTIONARY plain_words (TEMPLATE = pg_catalog.simple);
CREATE TEXT SEARCH CONFIGURATION own_words (COPY = pg_catalog.english);
ALTER TEXT SEARCH CONFIGURATION own_words ALTER MAPPING FOR asciiword WITH plain_words;

-- --- every kind of value -------------------------------------------------------------------------
CREATE TABLE "values" (
    id integer PRIMARY KEY,
    m mood, ms mood[], a address, as_ address[], addresses addresses, p positive,
    r money_range, rs money_multirange, mr mood_range, i4 int4range, ts tstzrange[],
    c public.citext, cs public.citext[], v public.vector(3), vs public.vector(3)[],
    b bytea, x xml, bits bit(5), vbits varbit, u uuid[], j json, jb jsonb, jp jsonpath,
    f4 real, f8 double precision, n numeric, d date, t timestamp, tz timestamptz, tt timetz,
    iv interval, cur money, ip inet, net cidr, mac macaddr8, pt point, pg polygon, ch char(4), vc varchar(9),
    nm name, q "char", tsv tsvector, tsq tsquery, cls regclass, typ regtype, pr regprocedure,
    role_ regrole, lsn pg_lsn, ids int2vector, grid integer[], k text COLLATE backwards
);
ALTER TABLE "values" ALTER COLUMN vc SET STATISTICS 77, ALTER COLUMN vc SET STORAGE EXTERNAL,
    ALTER COLUMN b SET COMPRESSION pglz, ALTER COLUMN n SET (n_distinct = -0.5);
INSERT INTO "values" VALUES
    (1, 'it''s ok', '{"ha\"ppy",sad}', ROW('a "b", (c)', NULL, '{z}'),
     ARRAY[ROW('x', 1, NULL)::address, NULL], ARRAY[ROW('y', 2, '{}')::address], 7,
     '[1.5,)', '{[1,2),[5,6]}', '[sad,z)', 'empty', '{"[2020-01-01,infinity)"}',
     'CiText', '{A,b}', '[1,-2.5,3e-7]', '{"[1,2,3]"}',
     '\x00ff0a5c09', '<a x="1">&lt;é</a>', B'10101', B'1', '{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11,NULL}',
     '{"a": 1,  "a":2}', '{"b": [1.10, null]}', '$.a[*] ? (@ > 1)',
     'NaN', '-Infinity', 'NaN', 'infinity', '-infinity', '0044-03-15 12:00:00.123456+00 BC', '12:00:00.5+05:30',
     '-1 year 2 mons -3 days 04:05:06.789', '-$1,234.56', '::1', '10.0.0.0/8', '08:00:2b:01:02:03:04:05',
     '(1e300,-0)', '((0,0),(1,1),(2,0))', 'ab', E'a\tb\n\\N', 'n', E'\\377',
     'fat:1A cat:2', 'fat & (rat | !cat)', '"values"', 'mood[]', 'add_up(bigint,positive)',
     'postgres', '16/B374D848', '1 2', '[2:3][0:1]={{1,2},{NULL,4}}', 'Öl'),
    (2, NULL, '{}', NULL, '{}', NULL, NULL, NULL, '{}', NULL, '(,)', NULL, '', '{}', NULL, '{}', '', '',
     NULL, '', '{}', 'null', 'null', NULL, '-0', 'Infinity', 'Infinity', '4713-01-01 BC', NULL, 'infinity', NULL,
     NULL, NULL, NULL, NULL, NULL, NULL, NULL, '', '', '', '', '', NULL, NULL, NULL, NULL,
     NULL, NULL, NULL, '{}', '');
CREATE TABLE toasted (id integer PRIMARY KEY, big text, compressed text COMPRESSION pglz);
INSERT INTO toasted SELECT n, string_agg(md5((n * 1000 + m)::text), '' ORDER BY m), repeat('x', 300000)
    FROM generate_series(1, 5) n, generate_series(1, 4000) m GROUP BY n;

-- --- names ---------------------------------------------------------------------------------------
CREATE TABLE "Tab	le
with ""quotes"", \ and %s; -- Type: TABLE; S: y" (
    "a	b" integer, "c
d" text DEFAULT 'e''f', "select" text GENERATED ALWAYS AS (upper("c
d")) STORED, "ключ" text UNIQUE, "%s" text
);
INSERT INTO "Tab	le
with ""quotes"", \ and %s; -- Type: TABLE; S: y" VALUES (1, E'x\ny', DEFAULT, 'д', '%');
COMMENT ON TABLE "Tab	le
with ""quotes"", \ and %s; -- Type: TABLE; S: y" IS '
--
-- Name: fake; Type: TABLE; Schema: public; Owner: -
--
CREATE SCHEMA public;
\restrict me';
CREATE INDEX "i	n
d" ON "Tab	le
with ""quotes"", \ and %s; -- Type: TABLE; S: y" (lower("c
d"));
CREATE TABLE no_columns ();
INSERT INTO no_columns DEFAULT VALUES;
INSERT INTO no_columns DEFAULT VALUES;
CREATE TABLE dropped (gone text, a integer, gone2 text, b text);
ALTER TABLE dropped DROP COLUMN gone, DROP COLUMN gone2;
INSERT INTO dropped SELECT n, 'b' || n FROM generate_series(1, 3000) n;

-- --- numbers -------------------------------------------------------------------------------------
CREATE SEQUENCE shared_numbers AS smallint INCREMENT -5 MINVALUE -1000 MAXVALUE 100 START 50 CACHE 3 CYCLE;
CREATE SEQUENCE untouched START 17;
CREATE TABLE identities (
    id bigint GENERATED ALWAYS AS IDENTITY (START 1000 INCREMENT 7),
    other integer GENERATED BY DEFAULT AS IDENTITY,
    serial serial,
    shared integer DEFAULT nextval('shared_numbers'),
    small positive DEFAULT nextval('untouched'::regclass) + 3,
    doubled bigint GENERATED ALWAYS AS (small * 2) STORED,
    PRIMARY KEY (id) INCLUDE (serial)
);
INSERT INTO identities (other) SELECT n FROM generate_series(100, 129) n;
CREATE TABLE also_shared (n integer DEFAULT nextval('shared_numbers'), PRIMARY KEY (n));
INSERT INTO also_shared DEFAULT VALUES;

-- --- tables of tables ----------------------------------------------------------------------------
CREATE TABLE measured (day date NOT NULL, place text, value numeric, note text DEFAULT 'none',
    PRIMARY KEY (day, place)) PARTITION BY RANGE (day);
CREATE TABLE measured_2024 (note text, value numeric, place text NOT NULL, day date NOT NULL);
ALTER TABLE measured ATTACH PARTITION measured_2024 FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE measured_2025 PARTITION OF measured FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')
    PARTITION BY LIST (place);
CREATE TABLE measured_2025_a PARTITION OF measured_2025 (value DEFAULT 5) FOR VALUES IN ('a', 'b');
CREATE TABLE "measured_2025 rest" PARTITION OF measured_2025 DEFAULT;
CREATE INDEX measured_value ON measured (value);
CREATE INDEX only_2024 ON measured_2024 (note);
INSERT INTO measured SELECT '2024-06-01'::date + n, 'abc'::text || n % 3, n, NULL FROM generate_series(1, 400) n;
INSERT INTO measured VALUES ('2025-03-03', 'a', 1), ('2025-03-03', 'c', 2);
CREATE TABLE parent (id integer PRIMARY KEY, kind text CHECK (kind <> 'no') NO INHERIT, shape point);
CREATE TABLE child (extra mood, CHECK (id > 100)) INHERITS (parent);
CREATE TABLE grandchild (more text) INHERITS (child);
ALTER TABLE child ADD UNIQUE (id);
INSERT INTO parent VALUES (1, 'p', '(1,1)');
INSERT INTO child VALUES (101, 'no', NULL, 'z');
INSERT INTO grandchild VALUES (102, 'g', NULL, 'sad', 'm');
CREATE UNLOGGED TABLE forgettable (id integer PRIMARY KEY, t text) WITH (fillfactor = 70, autovacuum_enabled = off);
INSERT INTO forgettable VALUES (1, 'u');
CREATE TABLE typed OF address ("house No" WITH OPTIONS DEFAULT 7);
INSERT INTO typed VALUES ('s', DEFAULT, '{z}');

-- --- keys ----------------------------------------------------------------------------------------
CREATE TABLE a (id integer PRIMARY KEY, b_id integer NOT NULL, code text, UNIQUE NULLS DISTINCT (code) DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE b (id integer PRIMARY KEY, a_id integer REFERENCES a DEFERRABLE, self integer REFERENCES b ON DELETE SET NULL);
BEGIN;
ALTER TABLE a ADD CONSTRAINT "a to b" FOREIGN KEY (b_id) REFERENCES b ON UPDATE CASCADE DEFERRABLE INITIALLY DEFERRED;
INSERT INTO a SELECT n, n, 'c' || n FROM generate_series(1, 20) n;
INSERT INTO b SELECT n, 21 - n, nullif(n - 1, 0) FROM generate_series(1, 20) n;
COMMIT;
CREATE TABLE booked (
    room integer, during tstzrange, who text,
    EXCLUDE USING gist (room WITH =, during WITH &&) WHERE (who <> 'nobody') DEFERRABLE
);
INSERT INTO booked VALUES (1, '[2024-01-01,2024-01-02)', 'x'), (1, '[2024-01-02,2024-01-03)', 'y');
CREATE TABLE part_keys (day date, place text, FOREIGN KEY (day, place) REFERENCES measured);
INSERT INTO part_keys VALUES ('2025-03-03', 'a'), (NULL, 'zzz');
ALTER TABLE measured ADD COLUMN b_id integer REFERENCES b;
CREATE TABLE unchecked (v integer, a_id integer);
INSERT INTO unchecked VALUES (-1, 999);
ALTER TABLE unchecked ADD CONSTRAINT later CHECK (v > 0) NOT VALID;
ALTER TABLE unchecked ADD CONSTRAINT later_too FOREIGN KEY (a_id) REFERENCES a NOT VALID;
CREATE UNIQUE INDEX a_half ON a (b_id) INCLUDE (code) WHERE code > 'c5';
CREATE INDEX a_words ON a USING gin (to_tsvector('own_words'::regconfig, code));
CREATE INDEX values_v ON "values" USING hnsw (v public.vector_l2_ops) WITH (m = 8);
CREATE INDEX values_k ON "values" (k COLLATE backwards DESC NULLS LAST, (n IS NULL));
CREATE STATISTICS a_stats (ndistinct, mcv) ON b_id, code FROM a;
CREATE STATISTICS a_expressions ON (b_id % 3), id FROM a;
ALTER STATISTICS a_stats SET STATISTICS 9;
ALTER INDEX values_k ALTER COLUMN 2 SET STATISTICS 300;
ALTER TABLE a REPLICA IDENTITY USING INDEX a_pkey;
ALTER TABLE b CLUSTER ON b_pkey, REPLICA IDENTITY FULL;

-- --- programs ------------------------------------------------------------------------------------
CREATE TABLE fired (what text);
CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS $x$
BEGIN
    INSERT INTO fired VALUES (TG_NAME || ' $$ '';');  -- Name: fake; Type: TABLE; Schema: y
    RETURN NEW;
END $x$;
CREATE TRIGGER on_insert AFTER INSERT ON b FOR EACH ROW EXECUTE FUNCTION fire();
CREATE TRIGGER always AFTER INSERT ON measured FOR EACH ROW EXECUTE FUNCTION fire();
CREATE CONSTRAINT TRIGGER constrained AFTER INSERT ON a DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.id > 0) EXECUTE FUNCTION fire();
CREATE TRIGGER before_all BEFORE INSERT ON dropped FOR EACH ROW EXECUTE FUNCTION fire();
ALTER TABLE b ENABLE ALWAYS TRIGGER on_insert;
ALTER TABLE a DISABLE TRIGGER constrained;
CREATE RULE no_delete AS ON DELETE TO fired DO INSTEAD NOTHING;
CREATE FUNCTION sum_of(n integer DEFAULT 3, VARIADIC rest mood[] DEFAULT '{}') RETURNS SETOF a
    LANGUAGE sql STABLE SET work_mem = '8MB' BEGIN ATOMIC SELECT * FROM a WHERE id <= n; SELECT * FROM a; END;
CREATE PROCEDURE tidy(INOUT n integer) LANGUAGE plpgsql AS $$ BEGIN DELETE FROM fired; COMMIT; n := 1; END $$;
CREATE TABLE checked (v integer CHECK (near(v, 5)), w integer DEFAULT near(1, 2)::integer);
INSERT INTO checked VALUES (4);
CREATE TABLE constructed (
    r money_range DEFAULT money_range(1, 2), rs money_multirange DEFAULT money_multirange(money_range(3, 4)),
    t text DEFAULT 'money_range(1, 2)', CHECK (r <> money_range(7, 8, '[]'))
);
INSERT INTO constructed DEFAULT VALUES;

-- --- who sees what -------------------------------------------------------------------------------
CREATE TABLE secret (owner text, t text);
INSERT INTO secret VALUES ('nobody', 'hidden'), ('me', 'x');
ALTER TABLE secret ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON secret FOR SELECT USING (owner = current_user);
CREATE POLICY counted ON secret AS RESTRICTIVE USING ((SELECT count(*) FROM a) > 0) WITH CHECK (false);

-- --- views ---------------------------------------------------------------------------------------
CREATE VIEW moods AS SELECT m, count(*) FROM "values" GROUP BY m;
CREATE VIEW grouped AS SELECT id, b_id, code FROM a GROUP BY id;  -- needs the key: comes after it
CREATE VIEW careful WITH (security_barrier, check_option = local) AS SELECT * FROM a WHERE id > 3;
CREATE RECURSIVE VIEW counting (n) AS SELECT 1 UNION ALL SELECT n + 1 FROM counting WHERE n < 3;
CREATE MATERIALIZED VIEW z_first AS SELECT id, code FROM a;
CREATE MATERIALIZED VIEW a_second AS SELECT count(*) AS n FROM z_first JOIN grouped USING (id);
CREATE UNIQUE INDEX a_second_n ON a_second (n);
CREATE MATERIALIZED VIEW keyed AS SELECT id, b_id FROM a GROUP BY id;
CREATE INDEX keyed_id ON keyed (id);
CREATE MATERIALIZED VIEW never AS SELECT 1 / 0 AS n WITH NO DATA;

COMMENT ON COLUMN a.code IS E'tab\there';
COMMENT ON CONSTRAINT "a to b" ON a IS 'cycle';
COMMENT ON INDEX a_half IS 'half';
COMMENT ON TYPE mood IS 'how';
COMMENT ON FUNCTION near IS 'close';
COMMENT ON TRIGGER on_insert ON b IS 'fires';
COMMENT ON POLICY own ON secret IS 'own';
COMMENT ON SEQUENCE untouched IS 'seventeen';
COMMENT ON STATISTICS a_stats IS 'st';
ANALYZE;
