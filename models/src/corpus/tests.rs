//! Texts of one file and of many, and where they are cut.

use std::fs;
use std::path::Path;

use super::*;
use crate::tokenizer::ByteTokenizer;

fn text(bytes: &[u8]) -> Text {
    Text::from_bytes("t".into(), bytes.to_vec()).unwrap()
}

#[test]
fn bundled_text_is_plain_and_about_a_megabyte() {
    let text = Text::bundled();
    assert!(text.read(0..text.len()).unwrap().iter().all(|&b| b == b'\n' || (b' '..=b'~').contains(&b)));
    assert_eq!(text.identity().bytes, 954_962);
    let corpus = Corpus::new(&text, &ByteTokenizer, 0.1, 256).unwrap();
    assert_eq!(corpus.train.len() + corpus.held_back.len(), text.len());
    assert!(corpus.held_back.len().abs_diff(95_496) <= 1);
}

#[test]
fn split_is_a_tail_at_a_whole_character() {
    let euros = "€".repeat(100);
    for held_back in [0.1, 0.11, 0.115, 0.2] {
        let corpus = Corpus::new(&text(euros.as_bytes()), &ByteTokenizer, held_back, 4).unwrap();
        assert_eq!(corpus.held_back.read(0..1).unwrap()[0], 0xe2);
        let all = |part: &Part| part.read(0..part.len()).unwrap();
        let whole = [all(&corpus.train), all(&corpus.held_back)].concat();
        assert_eq!(whole, ByteTokenizer.encode(euros.as_bytes()).unwrap());
    }
}

#[test]
fn unusable_texts_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let message = |path: &Path| Text::from_path(path).unwrap_err().to_string();
    assert!(message(&folder.path().join("none.txt")).contains("none.txt"));
    assert!(message(folder.path()).contains("is empty"));
    assert!(message(Path::new("/dev/null")).contains("device"));
    assert!(message(&folder.path().join("*.md")).contains("no file has such a name"));
    let empty = folder.path().join("empty.txt");
    fs::write(&empty, "").unwrap();
    assert!(message(&empty).contains("is empty"));
    let short = Corpus::new(&text(&[b'a'; 100]), &ByteTokenizer, 0.1, 16).unwrap_err().to_string();
    assert!(short.contains("held-back part has 10 tokens") && short.contains("at least 17"), "{short}");
    let short = Corpus::new(&text(b"abc"), &ByteTokenizer, 0.5, 2).unwrap_err().to_string();
    assert!(short.contains("training part has 1 tokens"), "{short}");
}

#[test]
fn identity_follows_the_content() {
    assert!(text(b"abc").identity().same_content(text(b"abc").identity()));
    assert!(!text(b"abc").identity().same_content(text(b"abd").identity()));
}

#[test]
fn a_bit_a_byte_is_ln_two_nats() {
    let part = Part::whole(&text(b"abcdef"), &ByteTokenizer, 2).unwrap();
    assert!((part.bits_per_byte(std::f64::consts::LN_2 * 3.0) - 3.0).abs() < 1e-12);
}

#[test]
fn many_files_are_one_text() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir_all(path("sub")).unwrap();
    for (name, content) in
        [("b.txt", "cde"), ("a.txt", "ab"), ("empty.txt", ""), ("sub/z.txt", "fgh"), (".hidden", "x")]
    {
        fs::write(path(name), content).unwrap();
    }
    let all = Text::from_path(folder.path()).unwrap();
    assert_eq!((all.len(), all.files()), (8, 3));
    for start in 0..=8 {
        for end in start..=8 {
            assert_eq!(all.read(start..end).unwrap(), b"abcdefgh"[start..end], "{start}..{end}");
        }
    }
    assert!(all.identity().same_content(text(b"abcdefgh").identity()));
    let some = Text::from_path(&path("*.txt")).unwrap();
    assert_eq!(some.read(0..some.len()).unwrap(), b"abcde");
    assert_eq!(Text::from_path(&path("**/*.txt")).unwrap().len(), 8);
}

#[test]
fn a_file_that_changes_is_an_error_and_one_that_vanishes_is_still_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.txt");
    fs::write(&path, "abcdef").unwrap();
    let text = Text::from_path(&path).unwrap();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(2).unwrap();
    assert!(text.read(4..6).unwrap_err().to_string().contains("a.txt was changed"));
    fs::write(&path, "abcdef").unwrap();
    let text = Text::from_path(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(text.read(4..6).unwrap(), b"ef");
}
