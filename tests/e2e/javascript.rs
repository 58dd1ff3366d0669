//! What the core writes, shown to a real JavaScript engine: it gives the same bytes back, and what JavaScript itself would
//! write of the same text, where it alters no number. One process looks at all of them.

#[path = "../../core/tests/properties/texts.rs"]
mod texts;

use std::io::Write;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use tokio::process::Command;
use webhooks_core::json as core_json;

/// Asserts that JavaScript gives each message back as it is.
pub async fn assert_stable(bodies: &[String]) {
    assert_eq!(complaints(json!(bodies)).await, "");
}

/// What `stable.mjs` says of these texts or pairs.
async fn complaints(texts: Value) -> String {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(texts.to_string().as_bytes()).expect("it is ours");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/stable.mjs");
    let output = Command::new("node").arg(script).arg(file.path()).output().await.expect("node");
    assert!(output.status.success(), "node: {}", String::from_utf8_lossy(&output.stderr));
    let complaints = String::from_utf8(output.stdout).expect("UTF-8");
    complaints.lines().take(30).collect::<Vec<_>>().join("\n")
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).expect("UTF-8")
}

/// So many values of a strategy, others at each run: what a test complains of, it shows.
fn some<T: std::fmt::Debug>(count: usize, strategy: impl Strategy<Value = T>) -> Vec<T> {
    let mut runner = TestRunner::default();
    (0..count).map(|_| strategy.new_tree(&mut runner).expect("a value").current()).collect()
}

fn canonical(text: &str) -> String {
    written(|out| core_json::push_json(out, text).unwrap_or_else(|error| panic!("{error:?}: {text}")))
}

#[tokio::test]
async fn json_of_any_numbers_is_given_back_as_it_is() {
    let texts = some(5_000, texts::json(texts::number().boxed()));
    assert_stable(&texts.iter().map(|text| canonical(text)).collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn json_whose_numbers_javascript_keeps_is_what_javascript_writes() {
    let safe = prop_oneof![
        (-(1_i64 << 53)..=1 << 53).prop_map(|whole| whole.to_string()),
        "-?[1-9][0-9]{0,8}\\.[0-9]{1,5}([eE][+-]?[0-9]{1,2})?".prop_map(String::from),
        any::<f64>()
            .prop_filter("JSON has none", |double| double.is_finite())
            .prop_map(|double| written(|out| core_json::push_f64(out, double))),
    ];
    let pairs: Vec<_> =
        some(5_000, texts::json(safe.boxed())).into_iter().map(|text| [text.clone(), canonical(&text)]).collect();
    assert_eq!(complaints(json!(pairs)).await, "");
}

#[tokio::test]
async fn numbers_and_strings_of_all_kinds_are_given_back_as_they_are() {
    let doubles = some(10_000, any::<f64>()).into_iter().map(|value| written(|out| core_json::push_f64(out, value)));
    let singles = some(10_000, any::<f32>()).into_iter().map(|value| written(|out| core_json::push_f32(out, value)));
    let wholes = some(10_000, any::<i64>()).into_iter().map(|value| written(|out| core_json::push_i64(out, value)));
    let decimals =
        some(10_000, texts::number()).into_iter().map(|text| written(|out| core_json::push_decimal(out, &text)));
    let strings =
        some(2_000, any::<String>()).into_iter().map(|text| written(|out| core_json::push_string(out, &text)));
    let all: Vec<String> = doubles.chain(singles).chain(wholes).chain(decimals).chain(strings).collect();
    assert_stable(&all).await;
}
