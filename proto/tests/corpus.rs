//! Replays the corpora of the fuzz targets, so that what a fuzzer found once stays found on stable.

use std::fs;
use std::path::Path;

#[path = "../../fuzz/checks/edit.rs"]
mod edit;
#[path = "../../fuzz/checks/guard.rs"]
mod guard;
#[path = "../../fuzz/checks/hocuspocus.rs"]
mod hocuspocus;
#[path = "../../fuzz/checks/room.rs"]
mod room;
#[path = "../../fuzz/checks/websocket.rs"]
mod websocket;

#[test]
fn the_guard_holds_against_its_corpus() {
    replay("guard", guard::check);
}

#[test]
fn the_editor_holds_against_its_corpus() {
    replay("edit", edit::check);
}

/// Documents that were found to be hard for the guard are so for the editor.
#[test]
fn the_editor_holds_against_the_corpus_of_the_guard() {
    replay("guard", |update| {
        let mut input = Vec::new();
        ydash_proto::lib0::write_var_bytes(&mut input, update);
        input.extend_from_slice(br#"{"r":{"k":[1,{"a":null}]},"a":["x"],"t":"text"}"#);
        edit::check(&input);
    });
}

#[test]
fn the_hocuspocus_codec_holds_against_its_corpus() {
    replay("hocuspocus", hocuspocus::check);
}

#[test]
fn rooms_hold_against_their_corpus() {
    replay("room", room::check);
}

#[test]
fn websocket_framing_holds_against_its_corpus() {
    replay("websocket", websocket::check);
}

fn replay(target: &str, check: impl Fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let mut count = 0;
    for entry in fs::read_dir(corpus).expect("the corpus is part of the repository") {
        let path = entry.expect("a readable directory").path();
        println!("{}", path.display());
        check(&fs::read(&path).expect("a readable file"));
        count += 1;
    }
    assert!(count > 0, "the corpus of {target} is empty");
}
