//! The Hub, through a stand-in on loopback: names, downloads that break, what the cache keeps.

mod stand_in;

use hub::{Hub, Kind};
use stand_in::{COMMIT, Fault, StandIn, sha256};
use std::fs;
use std::path::Path;
use std::time::Duration;

const GGUF: &str = "o/gguf";
const DEFAULT: &str = "m-Q4_K_M.gguf";

/// A repository of GGUF files.
fn gguf() -> StandIn {
    let hub = StandIn::start();
    for name in ["README.md", "m-BF16.gguf", DEFAULT, "m-Q8_0.gguf", "mmproj-m-Q4_K_M.gguf"] {
        hub.add(GGUF, name, &content(name));
    }
    for part in [1, 2] {
        let name = format!("Q6_K/m-Q6_K-0000{part}-of-00002.gguf");
        hub.add(GGUF, &name, &content(&name));
    }
    hub
}

fn content(name: &str) -> Vec<u8> {
    name.bytes().cycle().take(200_000).collect()
}

fn client(hub: &StandIn, cache: &Path) -> Hub {
    Hub {
        endpoint: hub.endpoint.clone(),
        cache: cache.to_owned(),
        token: None,
        is_offline: false,
        pause: Duration::from_millis(1),
    }
}

fn refused(hub: &Hub, name: &str, words: &[&str]) {
    let message = hub.model(name).expect_err("refused").to_string();
    assert!(words.iter().all(|word| message.contains(word)), "{words:?}: {message}");
}

#[test]
fn names_give_the_files_that_llama_cpp_takes() {
    let (server, cache) = (gguf(), tempfile::tempdir().expect("a directory"));
    let hub = client(&server, cache.path());
    for (name, file) in [
        ("o/gguf", DEFAULT),
        ("o/gguf:q8_0", "m-Q8_0.gguf"),
        ("o/gguf:BF16", "m-BF16.gguf"),
        ("o/gguf:M-q8_0.gguf", "m-Q8_0.gguf"),
        ("o/gguf/m-BF16.gguf", "m-BF16.gguf"),
        ("o/gguf:Q6_K", "Q6_K/m-Q6_K-00001-of-00002.gguf"),
        ("o/gguf/Q6_K/m-Q6_K-00002-of-00002.gguf", "Q6_K/m-Q6_K-00001-of-00002.gguf"),
    ] {
        let path = hub.model(name).expect(name);
        assert!(path.ends_with(format!("snapshots/{COMMIT}/{file}")), "{name}: {}", path.display());
        assert_eq!(fs::read(&path).expect("a file"), content(file), "{name}");
    }
    let second =
        cache.path().join(format!("models--o--gguf/snapshots/{COMMIT}/Q6_K/m-Q6_K-00002-of-00002.gguf"));
    assert_eq!(fs::read(second).expect("the second part"), content("Q6_K/m-Q6_K-00002-of-00002.gguf"));
    refused(&hub, "o/gguf:Q5_K_M", &["o/gguf", "Q5_K_M", "m-Q8_0.gguf"]);
    refused(&hub, "o/gguf:../../etc/passwd", &["../../etc/passwd", "neither a quantisation"]);
    refused(&hub, "gguf", &["owner/name"]);
    server.add("o/none", "README.md", b"");
    refused(&hub, "o/none", &["neither safetensors nor GGUF"]);
    server.add("o/half", "m-Q8_0-00001-of-00002.gguf", b"");
    refused(&hub, "o/half", &["m-Q8_0-00002-of-00002.gguf"]);
}

#[test]
fn what_is_in_the_cache_needs_no_network() {
    let (server, cache) = (gguf(), tempfile::tempdir().expect("a directory"));
    let hub = Hub { token: Some("secret".to_owned()), ..client(&server, cache.path()) };
    let path = hub.model(GGUF).expect("a model");
    // As huggingface_hub lays it out.
    let root = cache.path().join("models--o--gguf");
    let blob = root.join("blobs").join(sha256(&content(DEFAULT)));
    assert_eq!(fs::canonicalize(&path).expect("a link"), fs::canonicalize(&blob).expect("a blob"));
    assert_eq!(fs::read_to_string(root.join("refs/main")).expect("a reference"), COMMIT);
    assert_eq!(fs::read_dir(root.join("blobs")).expect("blobs").count(), 1);
    // The token is for the Hub alone.
    let requests = server.requests();
    assert!(
        requests.iter().any(|r| r.path.contains("/resolve/") && r.token.as_deref() == Some("Bearer secret"))
    );
    assert!(requests.iter().any(|r| r.path.starts_with("/store/")), "{requests:?}");
    assert!(requests.iter().all(|r| !r.path.starts_with("/store/") || r.token.is_none()), "{requests:?}");

    server.forget_requests();
    assert_eq!(hub.model(GGUF).expect("a model"), path);
    assert!(server.requests().iter().all(|request| request.path.starts_with("/api/")));
    let offline = Hub { is_offline: true, ..hub.clone() };
    server.forget_requests();
    assert_eq!(offline.model(GGUF).expect("a model"), path);
    assert_eq!(offline.model("o/gguf:Q4_K_M").expect("a model"), path);
    refused(&offline, "o/gguf:Q8_0", &["Q8_0", DEFAULT, "HF_HUB_OFFLINE"]);
    refused(&offline, "o/other", &["o/other", "HF_HUB_OFFLINE"]);
    assert!(server.requests().is_empty());
    let unreachable = Hub { endpoint: "http://127.0.0.1:9".to_owned(), ..hub };
    assert_eq!(unreachable.model(GGUF).expect("a model"), path);
    refused(&unreachable, "o/gguf:Q8_0", &["Q8_0", "127.0.0.1:9", "check the network"]);
    refused(&unreachable, "o/other", &["o/other", "127.0.0.1:9", "local path"]);
}

#[test]
fn a_cut_download_goes_on_where_it_stopped() {
    let (server, cache) = (gguf(), tempfile::tempdir().expect("a directory"));
    let hub = client(&server, cache.path());
    // Within a run: as long as something comes, it goes on.
    server.fail([50_000, 20_000, 1, 1, 1, 30_000].map(Fault::CutAfter));
    let path = hub.model(GGUF).expect("a model");
    assert_eq!(fs::read(path).expect("a file"), content(DEFAULT));
    assert!(server.requests().iter().any(|request| request.range.as_deref() == Some("bytes=70000-")));
    // Over runs.
    server.fail([Fault::CutAfter(60_000)].into_iter().chain([const { Fault::CutAfter(0) }; 12]));
    refused(&hub, "o/gguf:Q8_0", &["m-Q8_0.gguf", "60000 of 200000 bytes", "goes on from there"]);
    server.fail([]);
    server.forget_requests();
    let path = hub.model("o/gguf:Q8_0").expect("a model");
    assert_eq!(fs::read(path).expect("a file"), content("m-Q8_0.gguf"));
    let ranges: Vec<_> = server.requests().into_iter().filter_map(|request| request.range).collect();
    assert_eq!(ranges.last().map(String::as_str), Some("bytes=60000-"));
}

#[test]
fn only_what_the_hub_has_enters_the_cache() {
    let (server, cache) = (gguf(), tempfile::tempdir().expect("a directory"));
    let hub = client(&server, cache.path());
    // A server without ranges sends all again; a damaged file is fetched again.
    server.fail([Fault::CutAfter(60_000), Fault::CutAfter(60_000), Fault::NoRanges, Fault::Damage]);
    let path = hub.model(GGUF).expect("a model");
    assert_eq!(fs::read(path).expect("a file"), content(DEFAULT));
    server.fail([const { Fault::Damage }; 30]);
    refused(&hub, "o/gguf:Q8_0", &["m-Q8_0.gguf", "SHA-256"]);
    let blobs = cache.path().join("models--o--gguf/blobs");
    let whole = |entry: &fs::DirEntry| !entry.path().to_string_lossy().ends_with(".incomplete");
    assert_eq!(fs::read_dir(blobs).expect("blobs").flatten().filter(whole).count(), 1);
    server.fail([]);
    hub.model("o/gguf:Q8_0").expect("a model");
    // A part that is longer than the file, as another program may leave it.
    let name = "m-BF16.gguf";
    let part = cache.path().join(format!("models--o--gguf/blobs/{}.incomplete", sha256(&content(name))));
    fs::write(part, vec![0; 300_000]).expect("written");
    let path = hub.model("o/gguf:BF16").expect("a model");
    assert_eq!(fs::read(path).expect("a file"), content(name));
}

#[test]
fn a_busy_server_is_asked_again_and_a_long_wait_is_told() {
    let (server, cache) = (gguf(), tempfile::tempdir().expect("a directory"));
    let hub = client(&server, cache.path());
    server.fail([Fault::Status(429, Some(0)), Fault::Status(503, None), Fault::Status(500, None)]);
    hub.model(GGUF).expect("a model");
    server.fail([Fault::Status(429, Some(3600))]);
    refused(&hub, "o/gguf:Q8_0", &["429", "in 3600 s", "HF_TOKEN"]);
    server.fail([const { Fault::Status(503, None) }; 30]);
    refused(&hub, "o/gguf:Q8_0", &["503", "try again later"]);
}

#[test]
fn who_is_refused_learns_why() {
    let (server, cache) = (gguf(), tempfile::tempdir().expect("a directory"));
    let hub = client(&server, cache.path());
    refused(&hub, "o/wrong", &["o/wrong", "check the name", "HF_TOKEN"]);
    let known = Hub { token: Some("valid".to_owned()), ..hub.clone() };
    refused(&known, "o/wrong", &["o/wrong", "404", "check the name"]);
    server.gate(GGUF);
    refused(&hub, GGUF, &["401", "grants access", &format!("{}/o/gguf", hub.endpoint), "HF_TOKEN"]);
    known.model(GGUF).expect("a model");
}

/// A repository that was renamed answers with a redirect within the Hub.
#[test]
fn a_renamed_repository_is_found() {
    let (server, cache) = (gguf(), tempfile::tempdir().expect("a directory"));
    server.rename("o/old", GGUF);
    let path = client(&server, cache.path()).model("o/old").expect("a model");
    assert_eq!(fs::read(path).expect("a file"), content(DEFAULT));
}

#[test]
fn a_model_is_of_one_commit() {
    let (server, cache) = (StandIn::start(), tempfile::tempdir().expect("a directory"));
    let hub = client(&server, cache.path());
    let index = br#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#;
    for (name, bytes) in [
        ("config.json", &b"{}"[..]),
        ("tokenizer.json", b"{\"version\": \"1.0\"}"),
        ("model.safetensors.index.json", index),
        ("model-1.safetensors", b"one"),
        ("model-2.safetensors", b"two"),
        ("chat_template.jinja", b"old"),
        ("m-Q4_K_M.gguf", b"not meant"),
        ("pytorch_model.bin", b"not needed"),
    ] {
        server.add("o/whole", name, bytes);
    }
    let directory = hub.model("o/whole").expect("a model");
    assert!(directory.join("config.json").is_file() && directory.join("model-2.safetensors").is_file());
    assert!(!directory.join("pytorch_model.bin").exists() && !directory.join("m-Q4_K_M.gguf").exists());
    let template =
        |directory: &Path| fs::read_to_string(directory.join("chat_template.jinja")).expect("a template");

    // The newer commit has another template: what did not change is not fetched again, and until the
    // newer one is whole, the older one is what there is.
    let newer = "1111111111111111111111111111111111111111";
    server.add("o/whole", "chat_template.jinja", b"new");
    server.set_commit(newer);
    server.fail_small([Fault::Status(403, None)]);
    refused(&hub, "o/whole", &["403"]);
    let offline = Hub { is_offline: true, ..hub.clone() };
    assert_eq!(template(&offline.model("o/whole").expect("the older one")), "old");
    server.forget_requests();
    let updated = hub.model("o/whole").expect("a model");
    assert!(updated.ends_with(newer) && updated.join("model-1.safetensors").is_file());
    assert_eq!((template(&directory).as_str(), template(&updated).as_str()), ("old", "new"));
    assert_eq!(offline.model("o/whole").expect("a model"), updated);
}

#[test]
fn a_list_of_files_cannot_lead_out_of_the_cache() {
    let (server, cache) = (StandIn::start(), tempfile::tempdir().expect("a directory"));
    server.add("o/hostile", "../../../../m-Q4_K_M.gguf", b"x");
    let hub = client(&server, &cache.path().join("a/b/c"));
    refused(&hub, "o/hostile", &["HF_ENDPOINT"]);
    assert!(!cache.path().join("m-Q4_K_M.gguf").exists() && !cache.path().join("a/m-Q4_K_M.gguf").exists());
}

#[test]
fn a_file_of_a_data_set_is_fetched_once() {
    let (server, cache) = (StandIn::start(), tempfile::tempdir().expect("a directory"));
    server.add("datasets/o/set", "full/test.parquet", b"rows");
    let hub = client(&server, cache.path());
    let path = hub.fetch("o/set", Kind::Dataset, "full/test.parquet").expect("a file");
    assert!(path.starts_with(cache.path().join("datasets--o--set/snapshots")));
    server.forget_requests();
    hub.fetch("o/set", Kind::Dataset, "full/test.parquet").expect("a file");
    assert!(server.requests().is_empty());
    let missing = hub.fetch("o/set", Kind::Dataset, "full/none.parquet").expect_err("missing").to_string();
    assert!(missing.contains("full/none.parquet") && missing.contains("404"), "{missing}");
}

/// Two that want the same file at once: one fetches it, both have it.
#[test]
fn two_at_once_do_not_disturb_each_other() {
    let (server, cache) = (gguf(), tempfile::tempdir().expect("a directory"));
    let hub = client(&server, cache.path());
    server.fail([const { Fault::Slow }; 4]);
    std::thread::scope(|scope| {
        let both = [0, 1].map(|_| scope.spawn(|| hub.model(GGUF)));
        for one in both {
            let path = one.join().expect("no panic").expect("a model");
            assert_eq!(fs::read(path).expect("a file"), content(DEFAULT));
        }
    });
}
