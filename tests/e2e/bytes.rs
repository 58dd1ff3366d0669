//! Every body equals its own JSON.stringify(JSON.parse(body)) under real Node, whatever the rows hold; and the values
//! in it are the rows'.

use serde_json::{Value, json};
use tests::{Cluster, Random, Received, SECRET, Stage};

use crate::verification::{assert_accepted, assert_standard};

/// Columns of every type, each with literals that are its extremes. Rows take them in turn.
const ZOO: &[(&str, &[&str])] = &[
    ("smallint", &["0", "-32768", "32767", "NULL"]),
    ("integer", &["-1", "2147483647", "-2147483648"]),
    ("bigint", &["9007199254740991", "9007199254740993", "-9223372036854775808", "9223372036854775807", "42"]),
    ("real", &["0.1", "'-0'", "3.4028235e38", "1.4e-45", "'NaN'", "'Infinity'", "16777216"]),
    (
        "double precision",
        &[
            "0.1",
            "'-0'",
            "1e21",
            "1e-7",
            "123456789012345680000",
            "5e-324",
            "1.7976931348623157e308",
            "'-Infinity'",
            "'NaN'",
        ],
    ),
    (
        "numeric",
        &[
            "1.10",
            "0.1",
            "12345678901234567890.123",
            "'NaN'",
            "1e-400",
            "100000000000000000000000",
            "0.000001",
            "0.0000001",
            "-0.00",
        ],
    ),
    ("numeric(20,10)", &["49.99", "0.0000000001", "1234567890.1234567890"]),
    ("boolean", &["true", "false", "NULL"]),
    (
        "text",
        &[
            r#"E'"\\/\b\f\n\r\t\x01\x1f\x7f'"#,
            "E'\\u2028\\u2029\\u0085'",
            "'😀 𝔘 é \u{feff}'",
            "''",
            "'</script>'",
            "'1'",
        ],
    ),
    ("varchar(10)", &["'abc'", "'ÀÉÎ'", "NULL"]),
    ("char(5)", &["'a'", "'abcde'"]),
    ("\"char\"", &["'x'", "''"]),
    ("name", &["'n'", "'o'"]),
    ("date", &["'2025-10-05'", "'infinity'", "'0044-03-15 BC'"]),
    ("time", &["'10:30'", "'23:59:59.999999'"]),
    ("timetz", &["'10:30+02'", "'00:00-12'"]),
    ("timestamp", &["'2025-10-05 10:30'", "'-infinity'", "'294276-12-31 23:59:59.999999'"]),
    ("timestamptz", &["'2025-10-05 10:30Z'", "'1700-01-01 00:00:00.5+01'", "'infinity'"]),
    ("interval", &["'1 year 2 mons -3 days 04:05:06.789'", "'0'"]),
    ("uuid", &["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "NULL"]),
    ("bytea", &[r"'\x00ff5c22'", r"'\x'"]),
    (
        "json",
        &[
            r#"'{"b": 1, "a": {"10": 1, "9": [1.0, 1e400, -0, 1E5, 0.1e-6]}, "b": 2, "2": null, "__proto__": {"x": 1}}'"#,
            r#"'"\ud800 \udc00 \u0000 \u0041 \/ \ud83d\ude00"'"#,
            r#"' [ ] '"#,
            r#"'null'"#,
            r#"'{"4294967294": 1, "4294967295": 2, "-1": 3, "01": 4, "1": 5, "": 6, "a\"b": 7}'"#,
            "'123456789012345678901234567890'",
        ],
    ),
    (
        "jsonb",
        &[
            r#"'{"b": [1.50, {"20": 1, "3": 2}], "1": 1e3, "é\t": "\u2028"}'"#,
            "'1e-400'",
            "'[12345678901234567890, 0.1, -0.0]'",
            "NULL",
            "'{}'",
        ],
    ),
    ("int[]", &["'{1,2,NULL}'", "'{}'", "'[2:3]={7,8}'"]),
    ("bigint[]", &["'{9007199254740993,1}'", "NULL"]),
    ("text[][]", &[r#"'{{"a","b\"c"},{"NULL",NULL}}'"#, "'{{é,😀}}'"]),
    ("numeric[]", &["'{1.10,NaN}'", "'{0.1}'"]),
    ("jsonb[]", &[r#"ARRAY['{"9": 1, "10": 2, "8": 3}']::jsonb[]"#, "'{}'"]),
    ("inet", &["'192.168.0.1/24'", "'::1'"]),
    ("macaddr", &["'08:00:2b:01:02:03'", "NULL"]),
    ("bit(3)", &["B'101'", "B'000'"]),
    ("point", &["'(1,2)'", "'(NaN,-0)'"]),
    ("int4range", &["'[1,5)'", "'empty'"]),
    ("nummultirange", &["'{[1.5,2],(3,)}'", "'{}'"]),
    ("tsvector", &["'a:1 b:2'", "''"]),
    ("oid", &["4294967295", "0"]),
    ("money", &["'12.34'", "'-0.01'"]),
    ("mood", &["'so-so'", "'\"odd\"'"]),
    ("pair", &[r#"ROW(1.10, 'a"b')"#, "ROW(NULL, NULL)", "NULL"]),
    ("pair[]", &[r#"ARRAY[ROW(9007199254740993, '😀')::pair]"#, "NULL"]),
    ("positive", &["1", "9007199254740993"]),
];

/// Names that JavaScript orders or escapes specially; the zoo's columns get them in turn.
const NAMES: &[&str] =
    &["10", "2", "a\"\"b", "back\\slash", "é", "__proto__", "4294967295", "01", "-1", " ", "UPPER", "😀", "tab\there"];

fn column(at: usize) -> String {
    match NAMES.get(at) {
        Some(name) => format!("\"{name}\""),
        None => format!("\"c{}\"", 1000 - at),
    }
}

async fn make_zoo(stage: &Stage) {
    let columns: Vec<String> = ZOO.iter().enumerate().map(|(at, (sort, _))| format!("{} {sort}", column(at))).collect();
    stage
        .db
        .run(&format!(
            "CREATE TYPE mood AS ENUM ('so-so', '\"odd\"');
             CREATE TYPE pair AS (\"2\" numeric, \"1\" text);
             CREATE DOMAIN positive AS bigint CHECK (value > 0);
             CREATE TABLE zoo (id bigint PRIMARY KEY, name text, import_type text, import_schedule text, {});
             SELECT webhooks.attach('zoo', 'suppliers');
             INSERT INTO zoo (id, name, import_type) VALUES (1, 'zoo', 'full')",
            columns.join(", ")
        ))
        .await;
}

/// All that arrived, checked by both of the specification's receivers and by the Standard Webhooks definition.
async fn assert_all_stable(stage: &Stage) -> Vec<Received> {
    let arrived = stage.arrived().await;
    let signed: Vec<_> = arrived.iter().map(|one| (one.clone(), SECRET.to_string())).collect();
    assert_accepted("node", "verify.mjs", &signed).await;
    assert_accepted("python3", "verify.py", &signed).await;
    arrived.iter().for_each(|one| assert_standard(one, SECRET));
    arrived
}

#[tokio::test]
async fn bodies_with_every_type_survive_parse_and_stringify() {
    let stage = Stage::start().await;
    make_zoo(&stage).await;
    let rounds = ZOO.iter().map(|(_, literals)| literals.len()).max().expect("a zoo") + 2;
    for round in 0..rounds {
        let set: Vec<String> = ZOO
            .iter()
            .enumerate()
            .map(|(at, (_, literals))| format!("{} = {}", column(at), literals[round % literals.len()]))
            .collect();
        stage.db.run(&format!("UPDATE zoo SET {}", set.join(", "))).await;
    }
    let arrived = assert_all_stable(&stage).await;
    assert_eq!(arrived.len(), rounds + 1);
    // serde_json takes no lone surrogates; the first round has none.
    let parsed = |one: &Received| serde_json::from_str::<Value>(&one.body).unwrap_or_default();
    let changed = |one: &Received| parsed(one)["data"]["changes"].as_object().map_or(0, |changes| changes.len());
    assert!(arrived.iter().any(|one| changed(one) == ZOO.len()), "the first round changes every column");
}

#[tokio::test]
async fn random_values_survive_parse_and_stringify() {
    let stage = Stage::start().await;
    stage
        .db
        .run(
            "CREATE TABLE wild (id bigint, name text, import_type text, import_schedule text,
                                d double precision, r real, n numeric, i bigint, t text, j json, b jsonb);
             SELECT webhooks.attach('wild', 'suppliers');
             INSERT INTO wild (id, name, import_type) VALUES (1, 'wild', 'full')",
        )
        .await;
    let mut random = Random::seeded(20_251_005);
    let update = "UPDATE wild SET d = $1, r = $2, n = $3::text::numeric, i = $4, t = $5, j = $6::text::json,
                                  b = regexp_replace($6::text, '\\\\u0000|\\\\ud[89ab]..|\\\\ud[c-f]..', '', 'gi')::jsonb";
    for _ in 0..400 {
        let double = f64::from_bits(random.bits());
        let real = f32::from_bits(random.bits() as u32);
        let exponent = random.below(60) as i32 - 40;
        let numeric = format!("{}.{}e{exponent}", random.bits() as i64, random.below(1_000_000));
        let whole = random.bits() as i64 >> random.below(60);
        let (text, json) = (random_text(&mut random), random_json(&mut random, 4));
        stage.db.run_with(update, &[&double, &real, &numeric, &whole, &text, &json]).await;
    }
    let arrived = assert_all_stable(&stage).await;
    assert_eq!(arrived.len(), 401);
}

fn random_text(random: &mut Random) -> String {
    let any = |random: &mut Random| match random.below(4) {
        0 => random.below(0x80) as u32,
        1 => random.below(0x3000) as u32,
        _ => random.below(0x11_0000) as u32,
    };
    (0..random.below(30)).filter_map(|_| char::from_u32(any(random))).filter(|c| *c != '\0').collect()
}

/// A JSON text as a careless producer might write it: white space, needless escapes, repeated and odd keys.
fn random_json(random: &mut Random, depth: u64) -> String {
    let leaves = [
        "null",
        "true",
        "0",
        "-0",
        "1.0",
        "1e2",
        "0.1E-9",
        "1e999",
        "12345678901234567890",
        "1.7976931348623159e308",
        "-5e-325",
    ];
    let strings =
        [r#""""#, r#""\u00e9""#, r#""é\ud83d\ude00""#, r#""\ud83d""#, r#""\u007f\u2028\/\b""#, r#""a\u0000b""#];
    let keys = ["b", "a", "1", "10", "2", "01", "b", "__proto__", "toJSON", "4294967294", "4294967295", "\\u0061", "é"];
    match random.below(if depth == 0 { 2 } else { 4 }) {
        0 => random.pick(&leaves).to_string(),
        1 => random.pick(&strings).to_string(),
        2 => {
            let items: Vec<String> = (0..random.below(4)).map(|_| random_json(random, depth - 1)).collect();
            format!("[ {} ]", items.join(" ,"))
        }
        _ => {
            let pair = |random: &mut Random| format!("\"{}\" : {}", random.pick(&keys), random_json(random, depth - 1));
            let pairs: Vec<String> = (0..random.below(6)).map(|_| pair(random)).collect();
            format!("{{{}}}", pairs.join(",\n"))
        }
    }
}

#[tokio::test]
async fn numbers_keep_their_value_as_a_number_or_else_as_a_string() {
    let cases = [
        ("bigint", "9007199254740991", json!(9_007_199_254_740_991_i64)),
        ("bigint", "9007199254740993", json!("9007199254740993")),
        ("bigint", "-9223372036854775808", json!("-9223372036854775808")),
        ("numeric", "49.90", json!(49.9)),
        ("numeric", "0.1", json!(0.1)),
        ("numeric", "5.0", json!(5)),
        ("numeric", "12345678901234567890.123", json!("12345678901234567890.123")),
        ("numeric", "'NaN'", json!("NaN")),
        ("double precision", "0.1", json!(0.1)),
        ("double precision", "'Infinity'", json!("Infinity")),
        ("double precision", "'-Infinity'", json!("-Infinity")),
        ("real", "0.1", json!(0.1)),
        ("integer", "-2147483648", json!(-2_147_483_648_i64)),
        ("boolean", "true", json!(true)),
        ("text", "'1'", json!("1")),
        ("jsonb", r#"'{"n": 9007199254740993}'"#, json!({"n": "9007199254740993"})),
        ("int[]", "'{1,NULL}'", json!([1, null])),
        ("text[]", "'{{a,b},{c,d}}'", json!([["a", "b"], ["c", "d"]])),
    ];
    let db = Cluster::shared().await.database().await;
    db.register("http://127.0.0.1:9/", "*", SECRET).await;
    for (at, (sort, literal, expected)) in cases.into_iter().enumerate() {
        db.run(&format!(
            "CREATE TABLE t{at} (id int, name text, import_type text, import_schedule text, value {sort}, other int);
             SELECT webhooks.attach('t{at}', 'suppliers');
             INSERT INTO t{at} (id, name, import_type) VALUES (1, 'n', 'full');
             UPDATE t{at} SET value = {literal}, other = 1"
        ))
        .await;
        let body: String = db.one("SELECT body FROM webhooks.event ORDER BY xid DESC, seq DESC LIMIT 1").await;
        let body: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(body["data"]["changes"]["value"], json!({"old": null, "new": expected}), "{sort} {literal}");
    }
}

#[tokio::test]
async fn emitted_data_survives_parse_and_stringify() {
    let stage = Stage::start().await;
    let mut random = Random::seeded(7);
    for _ in 0..100 {
        let data = format!("{{\"x\": {}}}", random_json(&mut random, 5));
        let emit = "SELECT webhooks.emit('any.thing', regexp_replace($1::text, '\\\\u0000|\\\\ud[89ab]..|\\\\ud[c-f]..', '', 'gi')::jsonb)";
        stage.db.run_with(emit, &[&data]).await;
    }
    assert_eq!(assert_all_stable(&stage).await.len(), 100);
}

/// Makes a text that is half a character. Postgres checks what clients send; a name of a role that was made in a database of
/// another encoding, a function in C or this cast go past the check.
const CAST: &str = "CREATE CAST (bytea AS text) WITHOUT FUNCTION";
const HALF: &str = r"'\xc3'::bytea::text";

/// `data` of every event, in the order of the log, once all have arrived.
async fn data(stage: &Stage) -> Vec<Value> {
    stage.assert_each_once().await;
    let bodies: Vec<String> = stage.db.all("SELECT body FROM webhooks.event ORDER BY xid, seq").await;
    bodies.iter().map(|body| serde_json::from_str::<Value>(body).expect("JSON")["data"].clone()).collect()
}

#[tokio::test]
async fn bytes_that_are_no_utf_8_are_sent_as_escapes() {
    let stage = Stage::start().await;
    stage
        .db
        .run(&format!(
            "{CAST};
             CREATE TYPE pair AS (letter \"char\", words text);
             ALTER TABLE products ADD letter \"char\", ADD letters \"char\"[], ADD pair pair, ADD document jsonb, ADD raw json;
             INSERT INTO products (sku, name, price) VALUES ('A', 'a' || {HALF} || 'z', 1);
             UPDATE products SET letter = 'é', letters = '{{é,a}}', pair = ('é', {HALF}), document = to_jsonb({HALF}),
                                 raw = ('\"' || {HALF} || '\"')::json;
             UPDATE products SET letter = '😀';
             SELECT set_config('pg_webhooks.actor', {HALF}, false);
             DELETE FROM products;
             SELECT webhooks.emit('a.b', jsonb_build_object('x', {HALF}))"
        ))
        .await;
    stage.db.fail(&format!("SELECT webhooks.emit('a.' || {HALF}, '{{}}')")).await;
    assert!(stage.db.notices().is_empty());
    let data = data(&stage).await;
    assert_eq!(data[0]["name"], r"a\303z");
    let half = r"\303";
    let expected = json!({"letter": half, "letters": [half, "a"], "pair": {"letter": half, "words": half}, "document": half, "raw": half});
    let changes = data[1]["changes"].as_object().expect("an object");
    let new: Value = changes.iter().map(|(column, change)| (column.clone(), change["new"].clone())).collect();
    assert_eq!(new, expected);
    assert_eq!(data[2]["changes"], json!({"letter": {"old": half, "new": r"\360"}}), "other bytes, another value");
    assert_eq!(data[3]["deleted_by"], half);
    assert_eq!(data[4], json!({"x": half}));
}

#[tokio::test]
async fn a_column_whose_name_is_no_utf_8_has_an_escape_for_its_key() {
    let stage = Stage::start().await;
    stage
        .db
        .run(&format!(
            "{CAST};
             DO $$ BEGIN EXECUTE format('ALTER TABLE products ADD %I int', {HALF}); END $$;
             INSERT INTO products (sku, name, price) VALUES ('A', 'a', 1);
             DO $$ BEGIN EXECUTE format('UPDATE products SET %I = 7', {HALF}); END $$"
        ))
        .await;
    assert_eq!(data(&stage).await[1]["changes"], json!({r"\303": {"old": null, "new": 7}}));
}
