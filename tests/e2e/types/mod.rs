//! A value has the same bytes in every session, whatever the session has set, and they survive JSON.parse and
//! JSON.stringify: for every type that the server has, and for each class of types that people make.

mod samples;

use tests::{Cluster, Database, Session};

use crate::javascript::assert_stable;
use samples::{BUILT_IN, CLASSES, CLASSES_SQL, WITHOUT_VALUES};

/// What applications and roles set, and what a session's temporary tables hide.
const SESSIONS: &[&str] = &[
    "",
    "SET DateStyle = 'SQL, DMY'; SET IntervalStyle = iso_8601; SET TimeZone = 'Asia/Kolkata'; SET extra_float_digits = -15;
     SET bytea_output = escape; SET search_path = shop, public; SET quote_all_identifiers = on;
     SET standard_conforming_strings = off; SET xmloption = document; SET xmlbinary = hex; SET backslash_quote = on",
    "SET DateStyle = 'German'; SET IntervalStyle = sql_standard; SET TimeZone = 'America/St_Johns';
     SET extra_float_digits = 3; SET search_path = ''; SET client_encoding = LATIN1; SET array_nulls = off;
     SET default_text_search_config = 'shop.words'",
    "SET DateStyle = 'Postgres, MDY'; SET IntervalStyle = postgres_verbose; SET TimeZone = '-12:30';
     CREATE TEMP TABLE pg_class (a int); CREATE TEMP TABLE things (a int); CREATE TYPE pg_temp.mood AS ENUM ('x');
     SET search_path = pg_temp, shop, pg_catalog",
];

/// The whole table.
fn types() -> impl Iterator<Item = (String, &'static [&'static str])> {
    let built_in = BUILT_IN.iter().map(|(name, values)| (format!("pg_catalog.\"{name}\""), *values));
    built_in.chain(CLASSES.iter().map(|(name, values)| (name.to_string(), *values)))
}

/// A locale with amounts of its own form, where the machine has one.
async fn other_locale(db: &Database<'_>) -> Option<&'static str> {
    for locale in ["de_DE.UTF-8", "ja_JP.UTF-8", "fr_FR.UTF-8", "en_US.UTF-8"] {
        if db.session().await.try_run(&format!("SET lc_monetary = '{locale}'")).await.is_ok() {
            return Some(locale);
        }
    }
    None
}

/// For each type a table of its values in pairs, and an attached one that will hold them; says which types have arrays.
async fn make_tables(db: &Database<'_>) -> Vec<bool> {
    db.run("CREATE ROLE \"Some One\"").await;
    db.run(CLASSES_SQL).await;
    let mut have_arrays = Vec::new();
    for (at, (name, values)) in types().enumerate() {
        // A domain over an array has one that ARRAY[…] does not make.
        let has_array = format!(
            "SELECT typarray <> 0 AND NOT EXISTS (SELECT FROM pg_type base
                                                   WHERE base.oid = type.typbasetype AND base.typcategory = 'A')
               FROM pg_type type WHERE oid = '{name}'::regtype"
        );
        have_arrays.push(db.one::<bool>(&has_array).await);
        let array = if have_arrays[at] { format!("{name}[]") } else { name.clone() };
        let pairs: Vec<String> = (0..values.len())
            .map(|at| (at, values[at], values[(at + 1) % values.len()]))
            .map(|(at, a, b)| format!("({at}, CAST({a} AS {name}), CAST({b} AS {name}))"))
            .collect();
        db.run(&format!(
            "CREATE TABLE value{at} (n int, a {name}, b {name});
             INSERT INTO value{at} VALUES {};
             CREATE TABLE held{at} (id int, sku {name}, name {name}, price {array}, supplier_id {array},
                                    stock int, min_stock int);
             SELECT webhooks.attach('held{at}', kind => 'products')",
            pairs.join(", "),
        ))
        .await;
    }
    have_arrays
}

/// Inserts, updates and deletes a row of every value.
async fn change_all(session: &Session, setting: &str, have_arrays: &[bool]) {
    session.run(setting).await;
    for (at, has_array) in have_arrays.iter().enumerate() {
        let list = |elements: &str| if *has_array { format!("ARRAY[{elements}]") } else { "NULL".into() };
        let filled = if *has_array { "array_fill(b, ARRAY[2, 2], ARRAY[0, -3])" } else { "b" };
        session
            .run(&format!(
                "INSERT INTO public.held{at} SELECT n, a, b, {}, {filled}, 0, 0 FROM public.value{at} ORDER BY n;
                 UPDATE public.held{at} SET sku = b, name = a, price = {}, supplier_id = NULL
                   FROM public.value{at} WHERE n = id;
                 DELETE FROM public.held{at}",
                list("a, NULL, b"),
                list("b"),
            ))
            .await;
    }
}

/// The `data` of each event since the last call, with what makes the message another one left out.
async fn bodies(db: &Database<'_>, transaction_since: &mut i64) -> Vec<String> {
    let sql =
        format!("SELECT body FROM webhooks.event WHERE xid::text::bigint >= {transaction_since} ORDER BY xid, seq");
    let bodies = db.all(&sql).await;
    *transaction_since = db.one("SELECT pg_current_xact_id()::text::bigint").await;
    bodies
}

fn data(body: &str) -> &str {
    body.split_once("\"data\":").expect("a message has data").1
}

#[tokio::test]
async fn every_type_of_the_server_is_in_the_table() {
    let db = Cluster::shared().await.database().await;
    let names: Vec<String> = db
        .all(
            "SELECT typname::text FROM pg_type
              WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype NOT IN ('p', 'c')
                AND NOT EXISTS (SELECT FROM pg_type element WHERE element.typarray = pg_type.oid) ORDER BY 1",
        )
        .await;
    for name in names {
        let is_known = BUILT_IN.iter().any(|(known, _)| *known == name) || WITHOUT_VALUES.contains(&name.as_str());
        assert!(is_known, "unknown type {name}: add a sample");
    }
}

#[tokio::test]
async fn a_value_has_the_same_bytes_in_every_session_and_they_survive_javascript() {
    let db = Cluster::shared().await.database().await;
    db.register("http://127.0.0.1:9/", "product.*", "s").await;
    let have_arrays = make_tables(&db).await;
    let mut since = 0;
    bodies(&db, &mut since).await;
    let locale = match other_locale(&db).await {
        Some(locale) => format!("SET lc_monetary = '{locale}'; SET lc_numeric = '{locale}'; SET lc_time = '{locale}'"),
        None => String::new(),
    };
    let (mut first, mut different) = (Vec::new(), Vec::new());
    for setting in SESSIONS.iter().copied().chain([locale.as_str()]) {
        change_all(&db.session().await, setting, &have_arrays).await;
        let bodies = bodies(&db, &mut since).await;
        if first.is_empty() {
            assert_stable(&bodies).await;
            first = bodies;
            continue;
        }
        assert_eq!(first.len(), bodies.len());
        different.extend(
            first
                .iter()
                .zip(&bodies)
                .filter(|(one, other)| data(one) != data(other))
                .map(|(one, other)| format!("{}\n{}\n", data(one), data(other))),
        );
    }
    let values: usize = types().map(|(_, values)| values.len()).sum();
    assert!(first.len() > 2 * values, "each value is inserted, changed and deleted: {}", first.len());
    let some = different.iter().take(10).map(String::as_str).collect::<String>();
    assert!(different.is_empty(), "{} messages have other bytes in another session:\n{some}", different.len());
}

#[tokio::test]
async fn what_would_hang_on_the_session_has_one_form() {
    let db = Cluster::shared().await.database().await;
    db.register("http://127.0.0.1:9/", "product.*", "s").await;
    db.run(CLASSES_SQL).await;
    let forms = [
        ("regclass", "'shop.things'", r#""shop.things""#),
        ("regclass", "'public.products'", r#""public.products""#),
        ("regclass", "'pg_catalog.pg_class'", r#""pg_class""#),
        ("regclass", "'shop.\"Odd Name\"'", r#""shop.\"Odd Name\"""#),
        ("regproc", "'shop.twice'", r#""shop.twice""#),
        ("regtype", "'shop.mood[]'", r#""shop.mood[]""#),
        ("regtype", "'int'", r#""integer""#),
        ("regrole", "'postgres'", r#""postgres""#),
        ("money", "1234.5::numeric::money", "1234.5"),
        ("money", "(-0.05)::numeric::money", "-0.05"),
        ("money", "'92233720368547758.07'", r#""92233720368547758.07""#),
        ("money[]", "ARRAY[1::money, NULL]", "[1,null]"),
        ("shop.byterange", r"shop.byterange('\x00', '\x41')", r#""[\"\\\\x00\",\"\\\\x41\")""#),
        ("bytea", r"'\x00ff'", r#""\\x00ff""#),
        ("character(4)", "'ab'", r#""ab""#),
        ("character(4)[]", "'{ab}'", r#"["ab"]"#),
        ("shop.code", "'   '", r#""""#),
        ("varchar(4)", "'ab  '", r#""ab  ""#),
    ];
    for (at, (name, value, form)) in forms.into_iter().enumerate() {
        db.run(&format!(
            "CREATE TABLE held{at} (id int, sku {name}, name text, price int, supplier_id int, stock int, min_stock int);
             SELECT webhooks.attach('held{at}', 'products');
             INSERT INTO held{at} (id, sku) VALUES (1, {value})"
        ))
        .await;
        let body: String = db.one("SELECT body FROM webhooks.event ORDER BY xid DESC LIMIT 1").await;
        assert!(body.contains(&format!(r#""sku":{form},"#)), "{name} {value}: {body}");
    }
}

#[tokio::test]
async fn a_session_keeps_what_it_has_set() {
    let db = Cluster::shared().await.database().await;
    db.register("http://127.0.0.1:9/", "product.*", "s").await;
    db.run(CLASSES_SQL).await;
    db.run(
        "CREATE TABLE held (id int, sku regclass, name interval, price shop.moneyrange, supplier_id bytea, stock int,
                            min_stock int);
         SELECT webhooks.attach('held', 'products')",
    )
    .await;
    let settings = "SELECT string_agg(name || ' = ' || setting || ' ' || source, '; ' ORDER BY name) FROM pg_settings
                     WHERE name ~ '^(search_path|lc_.*|.*style|timezone|bytea_output|extra_float_digits|quote_all_.*)$'";
    let insert = "INSERT INTO public.held VALUES (1, 'shop.things', '1 day', '[1,2)', 'abc')";
    for (begin, end) in
        [("", ""), ("BEGIN; SET LOCAL search_path = shop; SET LOCAL IntervalStyle = iso_8601", "COMMIT")]
    {
        db.run(SESSIONS[1]).await;
        db.run(begin).await;
        let before: String = db.one(settings).await;
        db.run(insert).await;
        assert_eq!(db.one::<String>(settings).await, before);
        db.run("UPDATE public.held SET sku = 'shop.select', price = 'empty'").await;
        assert_eq!(db.one::<String>(settings).await, before);
        db.run(end).await;
    }
    let bodies: Vec<String> = db.all("SELECT body FROM webhooks.event").await;
    assert!(bodies.len() == 4 && bodies.iter().all(|body| body.contains("shop.")), "{bodies:?}");
}
