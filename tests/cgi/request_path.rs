//! Proves that the path below a mount point is the same whatever a web server sends. The params
//! were recorded with an application mounted at `/app`, configured as the README describes.

use fcgi::cgi::{decode_path, encode_path, path_below, request_path};
use fcgi::{Error, Params};

type Pairs<'a> = &'a [(&'a str, &'a str)];

fn params(pairs: Pairs<'_>) -> Params {
    Params::from_pairs(pairs.iter().copied()).expect("params")
}

/// Rule E15.
#[test]
fn path_is_the_same_behind_every_web_server() {
    let uri = ("REQUEST_URI", "/app/caf%C3%A9/a%20b?x=%2F");
    let recorded: [(&str, Pairs<'_>); 8] = [
        ("nginx", &[uri, ("SCRIPT_NAME", "/app/café/a b"), ("DOCUMENT_URI", "/app/café/a b")]),
        (
            "nginx with fastcgi_split_path_info",
            &[
                uri,
                ("SCRIPT_NAME", "/app"),
                ("PATH_INFO", "/café/a b"),
                ("DOCUMENT_URI", "/app/café/a b"),
            ],
        ),
        (
            "Apache with mod_proxy_fcgi",
            &[
                uri,
                ("SCRIPT_NAME", "/app/café/a b"),
                ("SCRIPT_FILENAME", "proxy:fcgi://127.0.0.1:9000//caf%C3%A9/a%20b"),
            ],
        ),
        (
            "Apache with mod_fcgid",
            &[
                uri,
                ("SCRIPT_NAME", "/app"),
                ("PATH_INFO", "/café/a b"),
                ("SCRIPT_FILENAME", "/var/www/app"),
            ],
        ),
        (
            "lighttpd",
            &[
                uri,
                ("SCRIPT_NAME", "/app"),
                ("PATH_INFO", "/café/a b"),
                ("SCRIPT_FILENAME", "/var/www/app"),
            ],
        ),
        (
            "HAProxy",
            &[uri, ("SCRIPT_NAME", "/app/café/a b"), ("SCRIPT_FILENAME", "/srv/app/app/café/a b")],
        ),
        (
            "Caddy",
            &[
                uri,
                ("SCRIPT_NAME", ""),
                ("PATH_INFO", "/app/café/a b"),
                ("DOCUMENT_URI", ""),
                ("SCRIPT_FILENAME", "/srv"),
            ],
        ),
        ("h2o", &[uri, ("SCRIPT_NAME", ""), ("PATH_INFO", "/app/café/a b")]),
    ];
    for (server, pairs) in recorded {
        let params = params(pairs);
        assert_eq!(request_path(&params).unwrap(), "/app/café/a b", "{server}");
        assert_eq!(path_below(&params, "/app").unwrap().unwrap(), "/café/a b", "{server}");
    }
}

/// A CGI program, or an application behind another web server, may receive no `REQUEST_URI`.
#[test]
fn path_without_request_uri_is_that_of_the_script() {
    for (name, info, path) in [
        ("/app", "/a b", "/app/a b"),
        ("/app/a b", "", "/app/a b"),
        ("", "/app/a b", "/app/a b"),
        ("/app/x", "/app/x", "/app/x"),
        ("", "", "/"),
        ("/app", "/", "/app/"),
    ] {
        let params = params(&[("SCRIPT_NAME", name), ("PATH_INFO", info), ("REQUEST_URI", "")]);
        assert_eq!(request_path(&params).unwrap(), path, "{name:?} and {info:?}");
    }
    assert_eq!(request_path(&Params::new()).unwrap(), "/");
    for (name, info) in [
        ("app", ""),
        ("/app", "/../x"),
        ("/app", "/..%2fx"),
        ("/%2e%2E", ""),
        ("/a\nb", ""),
        ("", "x"),
    ] {
        let params = params(&[("SCRIPT_NAME", name), ("PATH_INFO", info)]);
        let outcome = request_path(&params);
        assert!(matches!(outcome, Err(Error::InvalidRequest { .. })), "{name:?} and {info:?}");
    }
    let invalid = Params::from_pairs([("SCRIPT_NAME", b"/\xff")]).unwrap();
    assert!(matches!(request_path(&invalid), Err(Error::InvalidRequest { .. })));
}

#[test]
fn escapes_are_decoded_except_slashes() {
    for (target, path) in [
        ("/", "/"),
        ("/a?b%2F", "/a"),
        ("/a%2Fb/c", "/a%2Fb/c"),
        ("/a%2fb", "/a%2Fb"),
        ("/a%252Fb", "/a%2Fb"),
        ("/%41%3f%23%25", "/A?#%"),
        ("/a+b;c=1,d", "/a+b;c=1,d"),
        ("//a/./b//", "//a/./b//"),
        ("/a..b/...", "/a..b/..."),
        ("/a%252e%252eb/100%25", "/a%2e%2eb/100%"),
        ("/caf\u{e9}", "/caf\u{e9}"),
        ("http://example.org/a%20b?c", "/a b"),
        ("HTTPS://example.org", "/"),
    ] {
        assert_eq!(request_path(&params(&[("REQUEST_URI", target)])).unwrap(), path, "{target}");
    }
    for target in [
        "a",
        "*",
        "?a",
        "/..",
        "/a/..",
        "/a/../b",
        "/%2E%2e/",
        "/a%5C..%5Cb",
        "/a%2F..%2Fb",
        "/..%2fa",
        "/..%252F..",
        "/..%252f..",
        "/%252E%252e/a",
        "/a/.%252e",
        "/a%255C..%255cb",
        "/%",
        "/%4",
        "/%4g",
        "/%2",
        "/%00",
        "/%0a",
        "/%7f",
        "/%ff",
        "/a b",
        "/a#b",
        "/%2x",
    ] {
        let params = params(&[("REQUEST_URI", target)]);
        let outcome = request_path(&params);
        assert!(matches!(outcome, Err(Error::InvalidRequest { .. })), "{target}: {outcome:?}");
    }
    let invalid = Params::from_pairs([("REQUEST_URI", b"/\xff")]).unwrap();
    assert!(matches!(request_path(&invalid), Err(Error::InvalidRequest { .. })));
}

/// An escaped slash never leads out of the mount point, nor into it.
#[test]
fn path_below_a_mount_point_starts_with_a_slash() {
    for (target, mount, path) in [
        ("/app", "/app", Some("/")),
        ("/app/", "/app", Some("/")),
        ("/app/a", "/app", Some("/a")),
        ("/app/a", "/app/", Some("/a")),
        ("/app//a", "/app", Some("//a")),
        ("/%61pp/%61", "/app", Some("/a")),
        ("/my%20app/a", "/my app", Some("/a")),
        ("/apple", "/app", None),
        ("/app%2Fa", "/app", None),
        ("/APP/a", "/app", None),
        ("/", "/app", None),
        ("/a%20b", "", Some("/a b")),
        ("/a", "/", Some("/a")),
        ("/", "", Some("/")),
    ] {
        let params = params(&[("REQUEST_URI", target)]);
        assert_eq!(path_below(&params, mount).unwrap().as_deref(), path, "{target} below {mount}");
    }
}

#[test]
fn path_without_escapes_is_borrowed() {
    let params = params(&[("REQUEST_URI", "/app/list?a=%20")]);
    let path = path_below(&params, "/app").unwrap().unwrap();
    assert!(matches!(path, std::borrow::Cow::Borrowed("/list")));
}

/// Every byte that a path may contain comes back, and no other byte of the field is special.
#[test]
fn encoded_path_decodes_to_the_same_bytes() {
    let printable: Vec<u8> = (b'/'..=255).chain(b' '..b'/').filter(|byte| *byte != 127).collect();
    let encoded = encode_path(&printable);
    assert!(encoded.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~/%".contains(&byte)));
    assert_eq!(decode_path(&encoded).expect("a path"), printable);
    assert_eq!(encode_path("/a%2Fb\r\nX: 1"), "/a%252Fb%0D%0AX%3A%201");
}
