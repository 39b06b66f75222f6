//! Tokenizers of other programs: the recorded texts and numbers, streams of tokens, and files that would do harm.

use std::path::{Path, PathBuf};

use carousel_models::compile::Engine;
use carousel_models::external::External;
use carousel_models::generate::{Conversation, Finish, Settings, generate};
use carousel_models::library::Cells;
use carousel_models::sample::{Choice, Sampler};
use carousel_models::tokenizer::{FileTokenizer, Tokenizer, decoded};
use serde_json::{Value, json};

fn golden() -> PathBuf {
    let root = std::env::var_os("CAROUSEL_GOLDEN")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden"), PathBuf::from);
    root.join("hf/e2e_bpe")
}

fn recorded() -> Value {
    serde_json::from_slice(&std::fs::read(golden().join("tokenizer_golden.json")).unwrap()).unwrap()
}

fn opened() -> FileTokenizer {
    FileTokenizer::open(&golden().join("tokenizer.json")).unwrap()
}

fn ids(value: &Value) -> Vec<i32> {
    value.as_array().unwrap().iter().map(|id| id.as_i64().unwrap() as i32).collect()
}

/// What a stream of tokens gives, with a check that it gives whole characters.
fn streamed(tokenizer: &FileTokenizer, tokens: &[i32]) -> String {
    let mut decoder = tokenizer.decoder();
    let mut text = String::new();
    for token in tokens {
        text.push_str(&decoder.push(*token).unwrap());
    }
    text + &decoder.finish()
}

#[test]
fn recorded_texts_and_numbers_agree() {
    let (tokenizer, recorded) = (opened(), recorded());
    assert_eq!(tokenizer.vocabulary(), 384);
    let texts = recorded["texts"].as_array().unwrap();
    for case in texts {
        let text = case["text"].as_str().unwrap();
        assert_eq!(tokenizer.encode(text.as_bytes()).unwrap(), ids(&case["ids"]), "{text:?}");
        assert_eq!(streamed(&tokenizer, &ids(&case["ids"])), case["decoded"].as_str().unwrap());
    }
    let random = recorded["random_ids"].as_array().unwrap();
    for case in random {
        assert_eq!(decoded(&tokenizer, &ids(&case["ids"])).unwrap(), case["decoded"].as_str().unwrap());
    }
    assert!(texts.len() > 5 && !random.is_empty());
}

#[test]
fn a_long_text_has_the_tokens_of_its_lines() {
    let tokenizer = opened();
    let line = "def heappush(heap, item):\n    heap.append(item)\n\n\nx = 'é€'\n";
    let lines = 5000;
    let of_line = tokenizer.encode(line.as_bytes()).unwrap();
    let whole = tokenizer.encode(line.repeat(lines).as_bytes()).unwrap();
    assert_eq!(whole, of_line.repeat(lines));
}

#[test]
fn from_text_to_tokens_to_logits_to_text() {
    let recorded = recorded();
    let external = External::open(&golden()).unwrap().unwrap();
    let model = external.model(Cells::Published).unwrap();
    let parameters = external.weights(&model).unwrap();
    let tokenizer = external.tokenizer().unwrap().unwrap();
    let predictor =
        model.predictor(&Engine::cpu(Some(1)), &parameters).unwrap_or_else(|failed| panic!("{failed}"));
    let prompt = tokenizer.encode(recorded["prompt"].as_str().unwrap().as_bytes()).unwrap();
    assert_eq!(prompt, ids(&recorded["prompt_ids"]));
    let wanted = ids(&recorded["generated_ids"]);
    let settings = |stop| Settings {
        length: wanted.len(),
        sampler: Sampler::new(Choice::Greedy, 0).unwrap(),
        repetition_penalty: 1.0,
        stop,
        end: None,
        tokenizer: Some(&tokenizer),
    };
    // Beside prompts of other lengths, which change nothing.
    let prompts = [&prompt[..1], &prompt, &prompt[..5]];
    let mut conversations = prompts.map(|prompt| {
        let mut conversation = Conversation::new(&predictor, 384);
        conversation.extend(prompt);
        conversation
    });
    let mut text = String::new();
    let mut emit = |written: carousel_models::generate::Written<'_>| {
        if written.row == 1 {
            text.push_str(written.text);
        }
    };
    let results = generate(&predictor, &parameters, &mut conversations, &settings(&[]), &mut emit).unwrap();
    assert_eq!(results[1].tokens, wanted);
    assert_eq!(results[1].text, recorded["generated_text"].as_str().unwrap());
    assert_eq!(text, results[1].text);

    // Up to a text that comes in the middle, cut by tokens at another place.
    let stop = ["the va".to_string()];
    let mut conversation = [Conversation::new(&predictor, 384)];
    conversation[0].extend(&prompt);
    let result =
        &generate(&predictor, &parameters, &mut conversation, &settings(&stop), &mut |_| {}).unwrap()[0];
    let before = recorded["generated_text"].as_str().unwrap().split("the va").next().unwrap();
    assert_eq!((result.text.as_str(), result.finish), (before, Finish::Stop));
}

#[test]
fn tokens_whose_text_depends_on_their_neighbours() {
    let vocabulary =
        json!({"▁the": 0, "▁rose": 1, "s": 2, "<0xE2>": 3, "<0x82>": 4, "<0xAC>": 5, "<unk>": 6, "▁": 7});
    let metaspace = json!({
        "version": "1.0", "truncation": null, "padding": {"strategy": {"Fixed": 1_000_000_000}, "direction": "Right",
        "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "s"}, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true},
        "post_processor": null,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"}
    });
    let tokenizer = FileTokenizer::new(metaspace.to_string().into_bytes()).unwrap();
    // Padding, which the file asks for, is left out.
    assert_eq!(tokenizer.encode(b"the rose").unwrap(), [0, 1]);
    for (tokens, text) in [
        (&[0, 1, 2][..], "the roses"),
        (&[0, 3, 4, 5, 1], "the€ rose"),
        (&[0, 3, 4, 1], "the\u{fffd}\u{fffd} rose"),
        (&[3, 4, 5], "€"),
        (&[0, 3], "the\u{fffd}"),
        (&[], ""),
    ] {
        assert_eq!(streamed(&tokenizer, tokens), text, "{tokens:?}");
    }
    let mut decoder = tokenizer.decoder();
    assert_eq!((decoder.push(0).unwrap().as_str(), decoder.push(3).unwrap().as_str()), ("the", ""));
    assert!(decoder.push(8).unwrap_err().to_string().contains("0 to 7"));
}

#[test]
fn files_that_are_no_tokenizers_or_do_harm_are_refused() {
    let refused = |json: Value, part: &str| {
        let message = FileTokenizer::new(json.to_string().into_bytes()).map(|_| ()).unwrap_err();
        assert!(message.contains(part), "{message}");
    };
    let whole: Value =
        serde_json::from_slice(&std::fs::read(golden().join("tokenizer.json")).unwrap()).unwrap();
    let with = |key: &str, value: Value| {
        let mut json = whole.clone();
        json[key] = value;
        json
    };
    refused(json!({}), "Model");
    refused(json!([1, 2]), "");
    let double = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"});
    refused(with("normalizer", json!({"type": "Sequence", "normalizers": vec![double; 60]})), "replacements");
    let mut empty = with("model", json!({"type": "WordLevel", "vocab": {}, "unk_token": "?"}));
    empty["added_tokens"] = json!([]);
    refused(empty, "no tokens");
    refused(
        with("model", json!({"type": "WordLevel", "vocab": {"a": 4_000_000_000u32}, "unk_token": "a"})),
        "4000000000",
    );
    refused(with("model", json!({"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "b"]]})), "");
    assert!(FileTokenizer::open(Path::new("/nowhere/tokenizer.json")).is_err());
    assert!(FileTokenizer::open(Path::new("/dev/zero")).is_err());
    let error = opened().encode(b"ab\xff").unwrap_err().to_string();
    assert!(error.contains("byte 2"), "{error}");
}
