//! The table of types: for each, values that show what its text may hang on, as SQL expressions. `types` casts them.

/// Postgres' own types, by their names in pg_type.
pub const BUILT_IN: &[(&str, &[&str])] = &[
    ("aclitem", &["'postgres=arwd/postgres'", "'=r/postgres'", "'\"Some One\"=r*/postgres'"]),
    ("bit", &["B'1'", "B'0'"]),
    ("bool", &["true", "false"]),
    ("box", &["'(1.1,2.2),(-0.1,1e300)'", "'(0,0),(0,0)'"]),
    ("bpchar", &["'a  '", "'  b'", "''"]),
    ("bytea", &[r"'\x00ff5c22'", r"'\x'", r"'\x414243'"]),
    ("char", &["'x'", "''", r"'\303'"]),
    ("cid", &["'0'", "'4294967295'"]),
    ("cidr", &["'192.168.0.0/24'", "'2001:db8::/32'"]),
    ("circle", &["'<(0.1,-2.2),3.3>'", "'<(0,0),0>'"]),
    ("date", &["'2025-10-05'", "'infinity'", "'-infinity'", "'0044-03-15 BC'", "'5874897-12-31'", "'4713-01-01 BC'"]),
    ("datemultirange", &["'{[2025-10-05,2025-10-07),[2026-01-02,)}'", "'{}'"]),
    ("daterange", &["'[2025-10-05,infinity]'", "'empty'", "'(,0044-03-15 BC]'"]),
    ("float4", &["0.1", "'-0'", "3.4028235e38", "1.4e-45", "'NaN'", "'-Infinity'", "16777216"]),
    (
        "float8",
        &["0.1", "'-0'", "1e21", "5e-324", "1.7976931348623157e308", "'NaN'", "'Infinity'", "0.30000000000000004"],
    ),
    ("inet", &["'192.168.0.1/24'", "'::1'", "'::ffff:1.2.3.4'"]),
    ("int2", &["-32768", "32767"]),
    ("int2vector", &["'1 2 -3'", "''"]),
    ("int4", &["-2147483648", "2147483647"]),
    ("int4multirange", &["'{[1,5),[7,)}'", "'{}'"]),
    ("int4range", &["'[1,5]'", "'empty'", "'(,)'"]),
    ("int8", &["9007199254740993", "-9223372036854775808", "42"]),
    ("int8multirange", &["'{[1,9007199254740993)}'", "'{}'"]),
    ("int8range", &["'[1,9007199254740993)'", "'empty'"]),
    (
        "interval",
        &[
            "'1 year 2 mons -3 days 04:05:06.789'",
            "'0'",
            "'-178000000 years'",
            "'178000000 years 11 mons 31 days 2562047788:00:54.775807'",
            "'-1 year 2 mons -3 days'",
        ],
    ),
    ("json", &[r#"'{"b": 1, "a": [1.0, 1e400], "b": "\u2028"}'"#, "'null'", r#"'"\ud800"'"#]),
    ("jsonb", &[r#"'{"10": 1, "9": [1.50, 1e-400]}'"#, "'[]'", "'\"é\"'"]),
    ("jsonpath", &["'$.a[*] ? (@.b > 0.10 && @.c == \"x\\\"y\")'", "'strict $'"]),
    ("line", &["'{0.1,2,3}'", "'{1,-1,1e-300}'"]),
    ("lseg", &["'[(0.1,0),(1,1)]'", "'[(0,0),(NaN,Infinity)]'"]),
    ("macaddr", &["'08:00:2b:01:02:03'", "'ff:ff:ff:ff:ff:ff'"]),
    ("macaddr8", &["'08:00:2b:01:02:03:04:05'", "'ff:ff:ff:ff:ff:ff:ff:ff'"]),
    ("money", &["12.34::numeric::money", "(-1234567.89)::numeric::money", "0::money", "'92233720368547758.07'"]),
    ("name", &["'n'", "'a \"b\"'"]),
    (
        "numeric",
        &["1.10", "'NaN'", "'Infinity'", "'-Infinity'", "1e-400", "12345678901234567890.123", "1e131071", "-0.00"],
    ),
    ("nummultirange", &["'{[1.5,2],(3,)}'", "'{}'"]),
    ("numrange", &["'[1.50,NaN]'", "'empty'"]),
    ("oid", &["4294967295", "0"]),
    ("oidvector", &["'1 4294967295'", "''"]),
    ("path", &["'[(0.1,0),(1,1)]'", "'((0,0),(1,1))'"]),
    ("pg_dependencies", &["(SELECT stxddependencies FROM pg_statistic_ext_data)"]),
    ("pg_lsn", &["'16/B374D848'", "'0/0'"]),
    ("pg_mcv_list", &["(SELECT stxdmcv FROM pg_statistic_ext_data)"]),
    ("pg_ndistinct", &["(SELECT stxdndistinct FROM pg_statistic_ext_data)"]),
    ("pg_node_tree", &["(SELECT adbin FROM pg_attrdef ORDER BY oid LIMIT 1)"]),
    ("pg_snapshot", &["'10:20:10,14,15'", "'1:1:'"]),
    ("point", &["'(0.1,-0)'", "'(NaN,Infinity)'", "'(1e21,0.30000000000000004)'"]),
    ("polygon", &["'((0.1,0),(1,1),(1,0))'", "'((0,0))'"]),
    ("refcursor", &["'a cursor'", "''"]),
    (
        "regclass",
        &[
            "'shop.things'",
            "'pg_catalog.pg_class'",
            "'shop.\"Odd Name\"'",
            "'public.products'",
            "'shop.select'",
            "0",
            "99999999",
        ],
    ),
    ("regcollation", &["'\"C\"'", "'shop.\"Order\"'", "0"]),
    ("regconfig", &["'pg_catalog.english'", "'shop.words'"]),
    ("regdictionary", &["'pg_catalog.simple'", "'shop.stems'"]),
    ("regnamespace", &["'shop'", "'pg_catalog'", "'\"Odd Schema\"'", "0"]),
    ("regoper", &["'shop.###'", "'pg_catalog.!!'", "0"]),
    ("regoperator", &["'shop.###(integer,shop.mood)'", "'pg_catalog.+(integer,integer)'", "0"]),
    ("regproc", &["'shop.twice'", "'pg_catalog.now'", "0"]),
    ("regprocedure", &["'shop.twice(shop.mood)'", "'pg_catalog.abs(numeric)'", "0"]),
    ("regrole", &["'postgres'", "'\"Some One\"'", "0"]),
    ("regtype", &["'shop.mood'", "'shop.mood[]'", "'integer'", "'shop.pair'", "'shop.\"Odd Name\"'", "0"]),
    ("text", &[r#"E'"\\/\b\f\n\r\t\x01\x1f\x7f'"#, "'😀 𝔘 é \u{2028}'", "''", "'1'"]),
    ("tid", &["'(0,1)'", "'(4294967295,65535)'"]),
    ("time", &["'10:30'", "'23:59:59.999999'", "'24:00'"]),
    (
        "timestamp",
        &["'2025-10-05 10:30'", "'-infinity'", "'294276-12-31 23:59:59.999999'", "'4713-01-01 00:00 BC'", "'infinity'"],
    ),
    (
        "timestamptz",
        &[
            "'2025-10-05 10:30Z'",
            "'1700-01-01 00:00:00.5+01'",
            "'infinity'",
            "'0044-03-15 12:00 BC'",
            "'294276-12-31 12:00Z'",
        ],
    ),
    ("timetz", &["'10:30+02'", "'00:00-12'", "'23:59:59.5+05:30:15'"]),
    ("tsmultirange", &["'{[2025-10-05 10:30,2025-10-07)}'", "'{}'"]),
    ("tsquery", &["'a & !b:*'", "'''it''''s'' <-> b'"]),
    ("tsrange", &["'[2025-10-05 10:30,infinity]'", "'empty'"]),
    ("tstzmultirange", &["'{[2025-10-05 10:30Z,2025-10-07 00:00+02)}'", "'{}'"]),
    ("tstzrange", &["'[2025-10-05 10:30Z,)'", "'[0044-03-15 12:00 BC,infinity]'"]),
    ("tsvector", &["'a:1A b:2 ''it''''s'':3'", "''"]),
    ("txid_snapshot", &["'10:20:10,14,15'", "'1:1:'"]),
    ("uuid", &["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "'00000000-0000-0000-0000-000000000000'"]),
    ("varbit", &["B'10110'", "B''"]),
    ("varchar", &["'abc  '", "'ÀÉÎ'"]),
    ("xid", &["'4294967295'", "'0'"]),
    ("xid8", &["'18446744073709551615'", "'0'"]),
    (
        "xml",
        &[
            "'<a b=\"c\">é<![CDATA[<]]></a>'",
            "XMLPARSE(DOCUMENT '<?xml version=\"1.0\" standalone=\"yes\"?><a/>')",
            "'t'",
        ],
    ),
];

/// Types of which nobody can put a value into a table.
pub const WITHOUT_VALUES: &[&str] = &["gtsvector", "pg_brin_bloom_summary", "pg_brin_minmax_multi_summary"];

/// One of each class of types that people make, some over others; `CLASSES_SQL` makes them.
pub const CLASSES: &[(&str, &[&str])] = &[
    ("shop.mood", &["'so-so'", "'\"odd\"'"]),
    ("shop.positive", &["1", "9007199254740993"]),
    ("shop.code", &["'ab'", "'a'"]),
    ("shop.letters", &["'{a,NULL}'", "'{}'"]),
    ("shop.letters[]", &[r#"'{"{a,NULL}",NULL}'"#, "'{}'"]),
    ("shop.class", &["'shop.things'", "'pg_class'"]),
    ("shop.pair", &[r#"ROW(1.10, 'a"b', '1 year')"#, "ROW(NULL, NULL, NULL)"]),
    (
        "shop.nested",
        &[
            r"ROW(ROW(1, 'a', '1 day'), '\x41', 'shop.things', 12.34::numeric::money, '2025-10-05 10:30Z', 0.1,
              ARRAY[ROW(shop.byterange('\x00', '\x41'))::shop.box])",
            "ROW(NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
        ],
    ),
    ("shop.byterange", &[r"shop.byterange('\x00', '\x41ff')", "'empty'"]),
    ("shop.bytemultirange", &[r"shop.bytemultirange(shop.byterange('\x00', '\x41ff'))", "'{}'"]),
    ("shop.moneyrange", &["shop.moneyrange(1.5::numeric::money, 12345.67::numeric::money)", "'empty'"]),
    ("shop.classrange", &["shop.classrange('pg_class'::regclass::oid, 'shop.things'::regclass::oid)", "'empty'"]),
    ("shop.timeranges", &["ARRAY['[2025-10-05 10:30Z,)'::tstzrange, NULL]", "'{}'"]),
    ("character(4)", &["'ab'", "'abcd'"]),
    ("bit(3)", &["B'101'", "B'000'"]),
    ("numeric(20,10)", &["49.99", "0.0000000001"]),
    ("interval day to second(3)", &["'1 day 04:05:06.789'", "'0'"]),
];

/// The schema with the types and with what the reg… types name.
pub const CLASSES_SQL: &str = r#"
    CREATE SCHEMA shop;
    CREATE SCHEMA "Odd Schema";
    CREATE TYPE shop.mood AS ENUM ('so-so', '"odd"');
    CREATE DOMAIN shop.positive AS bigint CHECK (value > 0);
    CREATE DOMAIN shop.code AS character(3);
    CREATE DOMAIN shop.letters AS "char"[];
    CREATE DOMAIN shop.class AS regclass;
    CREATE TYPE shop.pair AS ("2" numeric, "1" text, span interval);
    CREATE TYPE shop.byterange AS RANGE (subtype = bytea, multirange_type_name = shop.bytemultirange);
    CREATE TYPE shop.moneyrange AS RANGE (subtype = money);
    CREATE TYPE shop.classrange AS RANGE (subtype = regclass, subtype_opclass = oid_ops);
    CREATE DOMAIN shop.timeranges AS tstzrange[];
    CREATE TYPE shop.box AS (bytes shop.byterange);
    CREATE TYPE shop.nested AS (pair shop.pair, bytes bytea, class regclass, amount money, at timestamptz, number float8,
                                boxes shop.box[]);
    CREATE TYPE shop."Odd Name" AS (a int);
    CREATE TABLE shop.things (a int DEFAULT 1, b int);
    CREATE TABLE shop.select (a int);
    CREATE FUNCTION shop.twice(shop.mood) RETURNS int LANGUAGE sql AS 'SELECT 2';
    CREATE FUNCTION shop.compare(int, shop.mood) RETURNS bool LANGUAGE sql AS 'SELECT true';
    CREATE OPERATOR shop.### (FUNCTION = shop.compare, LEFTARG = int, RIGHTARG = shop.mood);
    CREATE COLLATION shop."Order" (LOCALE = 'C');
    CREATE TEXT SEARCH CONFIGURATION shop.words (COPY = pg_catalog.english);
    CREATE TEXT SEARCH DICTIONARY shop.stems (TEMPLATE = snowball, LANGUAGE = french);
    INSERT INTO shop.things SELECT g % 3, g % 3 FROM generate_series(1, 100) g;
    CREATE STATISTICS shop.both (ndistinct, dependencies, mcv) ON a, b FROM shop.things;
    ANALYZE shop.things
"#;
