//! The kept inputs of the fuzz targets, which need no fuzzer to be tried again: `core/fuzz/corpus`, a folder a target.

mod checks;

use std::fs;
use std::path::Path;

fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut count = 0;
    for file in files {
        check(&fs::read(file.expect("a file").path()).expect("it is ours"));
        count += 1;
    }
    assert!(count > 0, "{} is empty", folder.display());
}

#[test]
fn the_kept_inputs_break_no_rule() {
    replay("json", checks::json);
    replay("number", checks::number);
    replay("durations", checks::durations);
    replay("retry_after", checks::retry_after);
    replay("urls", checks::urls);
    replay("patterns", checks::patterns);
    replay("headers", checks::headers);
}
