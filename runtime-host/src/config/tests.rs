//! Settings: which source wins, what is refused, and what is said about where they come from.

use super::*;

fn layered(text: &str, flags: &Flags) -> ConfigSources {
    ConfigSources::layered(Figment::new().merge(Toml::string(text)), flags)
}

fn refused(text: &str) -> String {
    layered(text, &Flags::default()).config().unwrap_err().to_string()
}

#[test]
fn flags_win_over_the_file_and_that_over_defaults() {
    let flags = Flags { listen: Some("127.0.0.1:2".into()), ..Flags::default() };
    let config = layered("listen = \"127.0.0.1:1\"\nsecret = \"from-file\"", &flags).config().unwrap();
    assert_eq!(config.listen, "127.0.0.1:2");
    assert_eq!(config.app, PathBuf::from("spin.toml"));
    assert_eq!(config.variables(), BTreeMap::from([("edge_secret".into(), "from-file".into())]));
    assert!(!format!("{config:?}").contains("from-file"));
    assert_eq!(config.http.idle_timeout_ms.get(), limits::IDLE_TIMEOUT.as_millis() as u64);
}

#[test]
fn an_unknown_setting_is_named_with_those_there_are() {
    let error = refused("listne = \"127.0.0.1:1\"");
    assert!(error.contains("listne") && error.contains("listen"), "{error}");
    let error = refused("[http]\nidle = 1");
    assert!(error.contains("idle_timeout_ms"), "{error}");
}

#[test]
fn a_bad_value_is_named_with_its_setting() {
    for (text, words) in [
        ("[http]\nidle_timeout_ms = 0", ["http.idle_timeout_ms", "nonzero"]),
        ("[http]\ndrain_timeout_ms = \"5s\"", ["http.drain_timeout_ms", "5s"]),
        ("[proxies]\ntrusted = [\"10.0.0.0/99\"]", ["proxies.trusted", "10.0.0.0/8"]),
        ("[proxies]\nheader = \"via\"", ["proxies.header", "x-forwarded"]),
        ("[tls]\ncertificate = \"a.pem\"", ["tls", "key"]),
        ("admin = \"everywhere\"", ["admin", "socket address"]),
    ] {
        let error = refused(text);
        assert!(words.iter().all(|word| error.contains(word)), "{text}: {error}");
    }
}

#[test]
fn a_single_address_is_a_network_of_one() {
    let config =
        layered("[proxies]\ntrusted = [\"::1\", \"192.0.2.7\"]", &Flags::default()).config().unwrap();
    assert_eq!(config.proxies.trusted, ["::1/128", "192.0.2.7/32"].map(|network| network.parse().unwrap()));
}
