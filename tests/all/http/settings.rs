//! What an operator sets, and what the edge says about it.

use integration_tests::PlainEdge;

#[tokio::test]
async fn each_setting_is_printed_with_its_source_and_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let file = "log = \"warn\"\nlisten = \"127.0.0.1:1\"\n[http]\nidle_timeout_ms = 5\n";
    std::fs::write(folder.path().join("rollcall-edge.toml"), file).unwrap();
    let mut edge = PlainEdge::program(folder.path(), "up")
        .with_environment("ROLLCALL_EDGE_LOG", "error")
        .with_environment("ROLLCALL_EDGE_EDGE_SECRET", "hush-hush")
        .with_environment("ROLLCALL_EDGE_HTTP__DRAIN_DELAY_MS", "7")
        .with_environment("ROLLCALL_EDGE_PROXIES__TRUSTED", "[\"10.0.0.0/8\"]");
    edge.set_flag("--print-config", "--edge-id=here");
    edge.start().await;
    assert!(edge.ends().await.success());
    let said = edge.log();
    for (setting, source) in [
        ("app = \"spin.toml\"", "default"),
        ("log = \"error\"", "environment"),
        ("listen = \"127.0.0.1:0\"", "flag"),
        ("id = \"here\"", "flag"),
        ("secret = \"(secret)\"", "environment"),
        ("http.idle_timeout_ms = 5", "rollcall-edge.toml"),
        ("http.drain_delay_ms = 7", "environment"),
        ("http.header_timeout_ms = 10000", "default"),
        ("proxies.trusted = [\"10.0.0.0/8\"]", "environment"),
    ] {
        let line = said.lines().find(|line| line.starts_with(setting));
        let line = line.unwrap_or_else(|| panic!("{setting} in:\n{said}"));
        assert!(line.ends_with(source), "{line}");
    }
    assert!(!said.contains("hush"), "{said}");
}

#[tokio::test]
async fn a_setting_that_is_none_is_refused_with_its_file_and_what_there_is() {
    for (file, words) in [
        ("listne = \"127.0.0.1:1\"", ["rollcall-edge.toml", "listne", "`listen`"]),
        ("[http]\nidle_timeout = 5", ["rollcall-edge.toml", "idle_timeout", "`idle_timeout_ms`"]),
        ("[proxies]\ntrusted = [\"everyone\"]", ["rollcall-edge.toml", "proxies.trusted", "10.0.0.0/8"]),
        (
            "[tls]\ncertificate = \"none.pem\"\nkey = \"none.key\"",
            ["none.pem", "No such file", "rollcall-edge:"],
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("rollcall-edge.toml"), file).unwrap();
        let mut edge = PlainEdge::program(folder.path(), "up");
        edge.start().await;
        assert!(!edge.ends().await.success(), "{file}");
        let said = edge.log();
        assert!(words.iter().all(|word| said.contains(word)), "{words:?} for {file}:\n{said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}
