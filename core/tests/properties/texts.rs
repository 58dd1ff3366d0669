//! Texts as a careless producer might write them: JSON with white space, needless escapes, numbers of any size, keys that come
//! again. The end-to-end tests show the same ones to a real JavaScript engine.

use proptest::prelude::*;

/// A number by JSON's grammar, of any size and precision.
pub fn number() -> impl Strategy<Value = String> {
    let spelt = "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,24})?([eE][+-]?[0-9]{1,3})?";
    let edges =
        ["0", "-0", "9007199254740993", "1e999", "5e-324", "2e-324", "1.7976931348623159e308", "1e21", "123456e-7"];
    prop_oneof![
        4 => spelt.prop_map(String::from),
        2 => any::<f64>().prop_filter("JSON has none", |double| double.is_finite()).prop_map(|double| format!("{double:?}")),
        1 => any::<i64>().prop_map(|whole| whole.to_string()),
        1 => prop::sample::select(edges.to_vec()).prop_map(String::from),
    ]
}

/// A string with its quotes: raw characters, the escapes that JSON has, needed or not, and lone surrogates.
pub fn string() -> impl Strategy<Value = String> {
    let raw = any::<char>().prop_map(|char| match char {
        '"' | '\\' | '\0'..='\x1f' => format!("\\u{:04X}", char as u32),
        _ => char.to_string(),
    });
    let short = prop::sample::select(["\\\"", "\\\\", "\\/", "\\b", "\\f", "\\n", "\\r", "\\t"].as_slice());
    let unit = any::<u16>().prop_map(|unit| format!("\\u{unit:04x}"));
    let piece =
        prop_oneof![6 => raw, 2 => short.prop_map(String::from), 1 => unit, 1 => "[a-z]{1,30}".prop_map(String::from)];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

/// A key with its quotes; some are array indices or nearly so, and few enough to come again.
pub fn key() -> impl Strategy<Value = String> {
    let odd = [
        "0",
        "1",
        "10",
        "2",
        "01",
        "-1",
        "1.5",
        "4294967294",
        "4294967295",
        "__proto__",
        "toJSON",
        "a",
        "b",
        "\\u0061",
        "",
    ];
    prop_oneof![3 => prop::sample::select(odd.to_vec()).prop_map(|key| format!("\"{key}\"")), 1 => string()]
}

/// A JSON text of these numbers.
pub fn json(number: BoxedStrategy<String>) -> impl Strategy<Value = String> {
    let words = prop::sample::select(["null", "true", "false"].as_slice()).prop_map(String::from);
    let leaf = prop_oneof![1 => words, 3 => number, 3 => string()];
    leaf.prop_recursive(6, 60, 8, |inner| {
        let space = || prop::sample::select(["", "", "", " ", "\n\t", "\r "].as_slice());
        let item = (space(), inner.clone(), space()).prop_map(|(before, item, after)| format!("{before}{item}{after}"));
        let member =
            (space(), key(), space(), inner).prop_map(|(a, key, b, value)| format!("{a}{key}{b}:{b}{value}{a}"));
        prop_oneof![
            (space(), prop::collection::vec(item, 0..8)).prop_map(|(space, items)| match items.len() {
                0 => format!("[{space}]"),
                _ => format!("[{}]", items.join(",")),
            }),
            prop::collection::vec(member, 0..8).prop_map(|members| format!("{{{}}}", members.join(","))),
        ]
    })
}
