//! Replays the corpora of the fuzz targets, so that what a fuzzer found once stays found on stable.

use std::fs;
use std::path::Path;

#[path = "../../fuzz/checks/guard.rs"]
mod guard;

#[test]
fn the_guard_holds_against_its_corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/guard");
    let mut count = 0;
    for entry in fs::read_dir(corpus).expect("the corpus is part of the repository") {
        let path = entry.expect("a readable directory").path();
        println!("{}", path.display());
        guard::check(&fs::read(&path).expect("a readable file"));
        count += 1;
    }
    assert!(count > 0, "the corpus is empty");
}
