//! Tests of `fcgi::cgi::Environment`: the exact variables of an HTTP request, and the requests and
//! paths that are refused.

use std::path::PathBuf;

use fcgi::cgi::{
    decode_path, params_for_authorizer, set_variable, Environment, Head, HttpRequest, Script,
};
use fcgi::{Error, Params};
use proptest::prelude::*;

type Headers<'a> = &'a [(&'a str, &'a [u8])];

/// Returns a plain request. Each test changes the part that it is about.
fn request<'a>(target: &'a str, headers: Headers<'a>) -> HttpRequest<'a> {
    HttpRequest {
        method: "GET",
        target,
        version: "HTTP/1.1",
        headers,
        remote: "192.0.2.7:49152".parse().unwrap(),
        local: "192.0.2.1:8080".parse().unwrap(),
        https: false,
        content_length: None,
    }
}

#[track_caller]
fn params(request: &HttpRequest<'_>) -> Params {
    Environment::new().params(request, &Script::default()).unwrap()
}

/// Returns the params of a request with these headers.
#[track_caller]
fn params_with_headers(headers: Headers<'_>) -> Params {
    params(&request("/", headers))
}

/// Returns the params of `/app.php/x` below a document root, for this script.
fn params_with_script(script: &Script) -> fcgi::Result<Params> {
    Environment::new().document_root("/srv/www").params(&request("/app.php/x", &[]), script)
}

/// Returns the part of the request that was refused.
#[track_caller]
fn refused_part<T: std::fmt::Debug>(result: fcgi::Result<T>) -> String {
    match result {
        Err(Error::InvalidRequest { part, .. }) => part,
        other => panic!("{other:?} instead of an error"),
    }
}

#[track_caller]
fn refused_header(headers: Headers<'_>) -> String {
    refused_part(Environment::new().params(&request("/", headers), &Script::default()))
}

fn names(params: &Params) -> Vec<String> {
    params.iter().map(|(name, _)| String::from_utf8(name.to_vec()).unwrap()).collect()
}

#[test]
fn request_has_exactly_these_variables() {
    let request = HttpRequest {
        method: "POST",
        https: true,
        content_length: Some(3),
        ..request(
            "/app.php/a%20b?x=%26",
            &[
                ("Host", b"example.org:8443"),
                ("Content-Type", b"text/plain"),
                ("Content-Length", b"3"),
                ("Accept", b"*/*"),
            ],
        )
    };
    let script = Script::by_extension(request.path().unwrap(), ".php").unwrap();
    let environment = Environment::new().server_software("test/1").document_root("/srv/www");
    let expected = [
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("SERVER_SOFTWARE", "test/1"),
        ("DOCUMENT_ROOT", "/srv/www"),
        ("REMOTE_ADDR", "192.0.2.7"),
        ("REMOTE_PORT", "49152"),
        ("SERVER_ADDR", "192.0.2.1"),
        ("SERVER_PORT", "8080"),
        ("REQUEST_SCHEME", "https"),
        ("HTTPS", "on"),
        ("REQUEST_METHOD", "POST"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("SERVER_NAME", "example.org"),
        ("REQUEST_URI", "/app.php/a%20b?x=%26"),
        ("QUERY_STRING", "x=%26"),
        ("CONTENT_TYPE", "text/plain"),
        ("CONTENT_LENGTH", "3"),
        ("SCRIPT_NAME", "/app.php"),
        ("DOCUMENT_URI", "/app.php/a b"),
        ("REDIRECT_STATUS", "200"),
        ("SCRIPT_FILENAME", "/srv/www/app.php"),
        ("PATH_INFO", "/a b"),
        ("PATH_TRANSLATED", "/srv/www/a b"),
        ("HTTP_HOST", "example.org:8443"),
        ("HTTP_ACCEPT", "*/*"),
    ];
    assert_eq!(
        environment.params(&request, &script).unwrap(),
        Params::from_pairs(expected).unwrap()
    );
}

/// REMOTE_HOST, the user, HTTPS and everything empty are left out. Rules E2, E3, E11, E12 and E24.
#[test]
fn minimal_request_has_no_empty_or_unknown_variables() {
    let expected = [
        "GATEWAY_INTERFACE",
        "SERVER_SOFTWARE",
        "REMOTE_ADDR",
        "REMOTE_PORT",
        "SERVER_ADDR",
        "SERVER_PORT",
        "REQUEST_SCHEME",
        "REQUEST_METHOD",
        "SERVER_PROTOCOL",
        "SERVER_NAME",
        "REQUEST_URI",
        "QUERY_STRING",
        "SCRIPT_NAME",
        "DOCUMENT_URI",
        "REDIRECT_STATUS",
    ];
    assert_eq!(names(&params_with_headers(&[])), expected);
}

/// Rule E1.
#[test]
fn names_are_upper_case_and_unique() {
    let mut params = params_with_headers(&[("x-A", b"1"), ("X-a", b"2")]);
    assert_eq!(params.get("HTTP_X_A"), Some("1, 2"));
    for (name, value) in [("foo", "1"), ("FOO", "2"), ("Foo", "3"), ("http-x-a", "4")] {
        set_variable(&mut params, name, value).unwrap();
    }
    assert_eq!((params.get("FOO"), params.get("HTTP_X_A")), (Some("3"), Some("4")));
    let mut upper: Vec<_> = names(&params).iter().map(|name| name.to_ascii_uppercase()).collect();
    assert_eq!(upper, names(&params));
    upper.sort();
    upper.dedup();
    assert_eq!(upper.len(), params.len());
}

/// Rule E2.
#[test]
fn values_keep_their_case_and_empty_ones_are_omitted() {
    let params = params_with_headers(&[
        ("X-A", b"MiXed"),
        ("X-B", b" \t"),
        ("Content-Type", b""),
        ("X-C", b""),
        ("X-C", b"c"),
    ]);
    assert_eq!((params.get("HTTP_X_A"), params.get("HTTP_X_C")), (Some("MiXed"), Some("c")));
    assert!(!names(&params).iter().any(|name| name == "HTTP_X_B" || name == "CONTENT_TYPE"));
}

/// The web server sets AUTH_TYPE and REMOTE_USER itself after it has verified the user. Rules E3
/// and E12.
#[test]
fn user_is_never_taken_from_a_request_header() {
    let environment = Environment::new().pass_authorization(true);
    let request = request(
        "/",
        &[("Authorization", b"Basic ZmVycmlzOng="), ("Remote-User", b"root"), ("Auth-Type", b"x")],
    );
    let mut params = environment.params(&request, &Script::default()).unwrap();
    assert_eq!((params.get("AUTH_TYPE"), params.get("REMOTE_USER")), (None, None));
    set_variable(&mut params, "AUTH_TYPE", "Basic").unwrap();
    set_variable(&mut params, "REMOTE_USER", "ferris").unwrap();
    assert_eq!(
        (params.get("AUTH_TYPE"), params.get("REMOTE_USER")),
        (Some("Basic"), Some("ferris"))
    );
}

/// Rules E4 and S12.
#[test]
fn content_length_is_set_only_with_a_body() {
    let of =
        |content_length, headers| params(&HttpRequest { content_length, ..request("/", headers) });
    assert_eq!(of(None, &[]).get("CONTENT_LENGTH"), None);
    assert_eq!(of(Some(0), &[("Content-Length", b"0")]).get("CONTENT_LENGTH"), Some("0"));
    assert_eq!(of(None, &[("Content-Length", b"0")]).get("CONTENT_LENGTH"), None);
    assert_eq!(of(Some(u64::MAX), &[]).get("CONTENT_LENGTH"), Some("18446744073709551615"));
}

/// A chunked body of unknown length is refused, as is a header that contradicts the body. Rules E4
/// and E25.
#[test]
fn content_length_is_the_decoded_length_of_the_body() {
    fn of(content_length: Option<u64>, headers: Headers<'_>) -> fcgi::Result<Params> {
        let request = HttpRequest { content_length, ..request("/", headers) };
        Environment::new().params(&request, &Script::default())
    }
    let chunked: Headers<'_> = &[("Transfer-Encoding", b"chunked")];
    assert_eq!(refused_part(of(None, chunked)), "Transfer-Encoding");
    assert_eq!(of(Some(7), chunked).unwrap().get("CONTENT_LENGTH"), Some("7"));
    for value in [&b"6"[..], b"-1", b"x", b"7x", b"7, 7"] {
        assert_eq!(refused_part(of(Some(7), &[("content-length", value)])), "Content-Length");
    }
    assert_eq!(refused_part(of(None, &[("Content-Length", b"7")])), "Content-Length");
    assert_eq!(refused_part(of(None, &[("Content-Length", b"")])), "Content-Length");
    assert_eq!(
        refused_part(of(Some(7), &[("Content-Length", b"7"), ("Content-Length", b"8")])),
        "Content-Length"
    );
}

/// Rule E5.
#[test]
fn content_type_is_passed_unchanged() {
    assert_eq!(
        params_with_headers(&[("content-type", b"Text/Plain; charset=X")]).get("CONTENT_TYPE"),
        Some("Text/Plain; charset=X")
    );
    assert_eq!(
        refused_header(&[("Content-Type", b"a/b"), ("content-type", b"c/d")]),
        "Content-Type"
    );
}

/// Rule E6.
#[test]
fn gateway_interface_is_cgi_1_1() {
    assert_eq!(params_with_headers(&[]).get("GATEWAY_INTERFACE"), Some("CGI/1.1"));
}

/// Rule E7.
#[test]
fn path_info_is_decoded() {
    let path = request("/app/x%20y/Z%3F%c3%A9", &[]).path().unwrap();
    let script = Script::by_prefix(path, "/app").unwrap();
    assert_eq!(params_with_script(&script).unwrap().get("PATH_INFO"), Some("/x y/Z?\u{e9}"));
    assert_eq!(params_with_script(&Script::new("/app", "")).unwrap().get("PATH_INFO"), None);
}

/// None of these may reach SCRIPT_FILENAME. Rule E7.
#[test]
fn path_with_parent_segment_control_byte_or_bad_escape_is_refused() {
    let bad = [
        "",
        "a",
        "%2Fa",
        "/a?b",
        "/a#b", // not a path
        "/..",
        "/../a",
        "/a/..",
        "/a/../b",
        "/%2e%2e/a",
        "/.%2E/a",
        "/%2e./a",
        "/a/%2e%2e", // leaves the directory
        "/..\\a",
        "/a%5c..",
        "/a\\..\\b",
        "/%5C..%5Cb", // leaves it with the other separator
        "/a%00.php",
        "/a\0",
        "/a%0a",
        "/a\nb",
        "/a%0D%0Ab",
        "/%7f",
        "/a\x1b", // control bytes
        "/a%2Fb",
        "/a%2fb", // an encoded slash
        "/%",
        "/%4",
        "/%zz",
        "/%4g",
        "/%+1",
        "/% 1", // not an escape sequence
    ];
    for path in bad {
        assert_eq!(refused_part(decode_path(path)), "path", "{path:?}");
    }
}

/// Rule E7.
#[test]
fn other_paths_are_decoded_once() {
    let good: [(&str, &[u8]); 9] = [
        ("/", b"/"),
        ("/a%20b+c", b"/a b+c"),
        ("/%252e%252e/", b"/%2e%2e/"),
        ("/...", b"/..."),
        ("/a..b/..c/d..", b"/a..b/..c/d.."),
        ("//a//./b/", b"//a//./b/"),
        ("/%E9\u{e9}", b"/\xe9\xc3\xa9"),
        ("/%41%4a%6A", b"/AJj"),
        ("/A/a", b"/A/a"),
    ];
    for (path, decoded) in good {
        assert_eq!(decode_path(path).unwrap(), decoded, "{path}");
    }
}

/// Rule E8.
#[test]
fn path_translated_is_path_info_below_the_document_root() {
    let translated =
        |script| params_with_script(&script).unwrap().get("PATH_TRANSLATED").map(str::to_owned);
    assert_eq!(translated(Script::new("/app.php", "/x/y")).as_deref(), Some("/srv/www/x/y"));
    assert_eq!(translated(Script::new("/app.php", "")), None);
    let without_root =
        Environment::new().params(&request("/", &[]), &Script::new("/app.php", "/x")).unwrap();
    assert_eq!(
        (without_root.get("PATH_INFO"), without_root.get("PATH_TRANSLATED")),
        (Some("/x"), None)
    );
    assert_eq!(
        (without_root.get("SCRIPT_FILENAME"), without_root.get("DOCUMENT_ROOT")),
        (None, None)
    );
    for bad in ["/../etc", "/a/..", "..", "x", "/a\0", "/a\n", "/\\..\\x"] {
        assert_eq!(
            refused_part(params_with_script(&Script::new("/app.php", bad))),
            "path info",
            "{bad:?}"
        );
        assert_eq!(
            refused_part(params_with_script(&Script::new(bad, ""))),
            "script name",
            "{bad:?}"
        );
    }
}

/// Rule E9.
#[test]
fn query_string_is_always_set_and_not_decoded() {
    let cases = [
        ("/a", ""),
        ("/a?", ""),
        ("/a?a%20b=c+d", "a%20b=c+d"),
        ("/a??a?b", "?a?b"),
        ("/?a=%26&../%00", "a=%26&../%00"),
    ];
    for (target, query) in cases {
        let params = params(&request(target, &[]));
        assert_eq!(
            (params.get("QUERY_STRING"), params.get("REQUEST_URI")),
            (Some(query), Some(target))
        );
        assert_eq!(request(target, &[]).query().unwrap(), query);
    }
}

/// Rules E10 and E16.
#[test]
fn addresses_have_no_brackets_or_port() {
    let cases = [
        ("127.0.0.1:9", "127.0.0.1", "127.0.0.1"),
        ("[::1]:9", "::1", "[::1]"),
        ("[2001:db8:0:0::7]:9", "2001:db8::7", "[2001:db8::7]"),
        ("[::ffff:192.0.2.7]:9", "192.0.2.7", "192.0.2.7"),
        ("[fe80::1%3]:9", "fe80::1", "[fe80::1]"),
    ];
    for (address, text, name) in cases {
        let address = address.parse().unwrap();
        let params = params(&HttpRequest { remote: address, local: address, ..request("/", &[]) });
        assert_eq!((params.get("REMOTE_ADDR"), params.get("REMOTE_PORT")), (Some(text), Some("9")));
        assert_eq!((params.get("SERVER_ADDR"), params.get("SERVER_PORT")), (Some(text), Some("9")));
        assert_eq!(params.get("SERVER_NAME"), Some(name), "the name without a Host header");
    }
}

/// Rule E13.
#[test]
fn method_keeps_its_case() {
    for method in ["GET", "PATCH", "get", "M-SEARCH"] {
        assert_eq!(
            params(&HttpRequest { method, ..request("/", &[]) }).get("REQUEST_METHOD"),
            Some(method)
        );
    }
    for method in ["", "GET ", "G T", "GET\r", "GET\0", "G\u{e9}T", "GET/"] {
        let request = HttpRequest { method, ..request("/", &[]) };
        assert_eq!(refused_part(Environment::new().params(&request, &Script::default())), "method");
    }
}

/// Rule E14.
#[test]
fn script_name_is_always_set() {
    let whole_site = Script::by_prefix("/a/b", "").unwrap();
    let params = params_with_script(&whole_site).unwrap();
    assert_eq!((params.get("SCRIPT_NAME"), params.get("PATH_INFO")), (Some(""), Some("/a/b")));
    assert_eq!(Script::by_prefix("/app", "/app"), Some(Script::new("/app", "")));
    assert_eq!(Script::by_prefix("/App/x", "/app"), None);
}

/// The extension must match in ASCII and be followed by a slash or the end of the path. Rule E14.
#[test]
fn script_name_ends_after_the_extension() {
    let cases: [(&str, Option<(&str, &str)>); 14] = [
        ("/a.php", Some(("/a.php", ""))),
        ("/a.php/", Some(("/a.php", "/"))),
        ("/a.php/b", Some(("/a.php", "/b"))),
        ("/d/a.php/b.php/c", Some(("/d/a.php", "/b.php/c"))),
        ("/a.phpx/b.php", Some(("/a.phpx/b.php", ""))),
        ("/a.php.txt/b.php/c", Some(("/a.php.txt/b.php", "/c"))),
        ("/.php", Some(("/.php", ""))),
        ("/a.PHP", None),
        ("/a.phP/b", None),
        ("/a.php.txt", None),
        ("/a.php%2Fb", None),
        ("/aphp", None),
        ("/\u{130}\u{130}.PHP/x.php.jpg", None),
        ("/", None),
    ];
    for (path, split) in cases {
        let expected = split.map(|(name, info)| Script::new(name, info));
        assert_eq!(Script::by_extension(path, ".php"), expected, "{path}");
    }
    // The lower-case form of these letters is longer. It must not move the split.
    let path = "/\u{23a}\u{23a}\u{23a}\u{23a}.php/x";
    assert_eq!(
        Script::by_extension(path, ".php"),
        Some(Script::new("/\u{23a}\u{23a}\u{23a}\u{23a}.php", "/x"))
    );
}

/// Rule E15.
#[test]
fn script_name_and_path_info_form_the_path() {
    for path in ["/a.php/b c/d", "/a.php", "/x/y.php/%41"] {
        let params = params_with_script(&Script::by_extension(path, ".php").unwrap()).unwrap();
        let joined = format!(
            "{}{}",
            params.get("SCRIPT_NAME").unwrap(),
            params.get("PATH_INFO").unwrap_or("")
        );
        assert_eq!((&joined[..], params.get("DOCUMENT_URI")), (path, Some(path)));
    }
}

/// Rule E16.
#[test]
fn server_name_is_the_host_without_port() {
    let cases = [
        ("ex.test:8080", "ex.test"),
        ("ex.test", "ex.test"),
        ("ex.test:", "ex.test"),
        ("EX-1_a.test.", "EX-1_a.test."),
        ("127.0.0.1:80", "127.0.0.1"),
        ("[::1]:8080", "[::1]"),
        ("[2001:db8::1]", "[2001:db8::1]"),
        ("", "192.0.2.1"),
    ];
    for (host, name) in cases {
        assert_eq!(
            params_with_headers(&[("host", host.as_bytes())]).get("SERVER_NAME"),
            Some(name),
            "{host}"
        );
    }
    assert_eq!(
        params_with_headers(&[("Host", b"ex.test:8080")]).get("HTTP_HOST"),
        Some("ex.test:8080")
    );
}

/// Rule E16.
#[test]
fn invalid_host_is_refused() {
    let bad = [
        "a b",
        "a/b",
        "a@b",
        "user:pw@a",
        "a:b",
        "a:80:80",
        "a:65536",
        "a:-1",
        "a:+1",
        ":80",
        "::1",
        "[::1",
        "::1]",
        "[a]",
        "[::1]80",
        "[::1%25eth0]",
        "a,b",
        "a\"b",
        "a<b",
        "caf\u{e9}",
        "a%41",
        "[::1]]",
        "x[::1]",
    ];
    for host in bad {
        assert_eq!(refused_header(&[("Host", host.as_bytes())]), "Host", "{host}");
    }
    assert_eq!(refused_header(&[("Host", b"a"), ("host", b"a")]), "Host");
    assert_eq!(refused_header(&[("Host", b"\xff")]), "Host");
}

/// Rule E16.
#[test]
fn host_of_an_absolute_uri_replaces_the_host_header() {
    let cases = [
        ("http://a.test:81/x?y", "a.test", "a.test:81", "/x?y", "y"),
        ("HTTPS://a.test", "a.test", "a.test", "/", ""),
        ("http://[::1]:80?q=/", "[::1]", "[::1]:80", "/?q=/", "q=/"),
    ];
    for (target, name, host, uri, query) in cases {
        let params = params(&request(target, &[("Host", b"other.test")]));
        assert_eq!((params.get("SERVER_NAME"), params.get("HTTP_HOST")), (Some(name), Some(host)));
        assert_eq!(
            (params.get("REQUEST_URI"), params.get("QUERY_STRING")),
            (Some(uri), Some(query))
        );
        assert_eq!(params.iter().filter(|(name, _)| name == b"HTTP_HOST").count(), 1);
    }
}

#[test]
fn invalid_target_is_refused() {
    let targets = [
        "",
        "*",
        "a",
        "a.test:443",
        "http://",
        "http:///x",
        "http:/x",
        "ftp://a.test/",
        "/a b",
        "/a\r\nX: y",
        "/a\0",
        "/a#b",
        "/\x7f",
        "?a",
        "//\t",
    ];
    for target in targets {
        assert_eq!(refused_part(request(target, &[]).path()), "target", "{target:?}");
        let result = Environment::new().params(&request(target, &[]), &Script::default());
        assert_eq!(refused_part(result), "target", "{target:?}");
    }
    assert_eq!(refused_part(request("/../a", &[]).path()), "path");
    let result = Environment::new().params(&request("http://a@b/", &[]), &Script::default());
    assert_eq!(refused_part(result), "Host");
}

/// Rule E17.
#[test]
fn server_port_is_always_set() {
    for port in ["80", "443", "0", "65535"] {
        let local = format!("192.0.2.1:{port}").parse().unwrap();
        let request = HttpRequest { local, ..request("/", &[("Host", b"a:1234")]) };
        assert_eq!(params(&request).get("SERVER_PORT"), Some(port));
    }
}

/// Rule E18.
#[test]
fn server_protocol_has_major_and_minor_version() {
    for (version, protocol) in [
        ("HTTP/1.0", "HTTP/1.0"),
        ("HTTP/1.1", "HTTP/1.1"),
        ("HTTP/2", "HTTP/2.0"),
        ("HTTP/3.0", "HTTP/3.0"),
    ] {
        assert_eq!(
            params(&HttpRequest { version, ..request("/", &[]) }).get("SERVER_PROTOCOL"),
            Some(protocol)
        );
    }
    for version in [
        "",
        "HTTP",
        "HTTP/",
        "1.1",
        "http/1.1",
        "HTTP/1.1 ",
        "HTTP/1.",
        "HTTP/11",
        "HTTP/1.1\n",
        "HTTP/x.y",
    ] {
        let request = HttpRequest { version, ..request("/", &[]) };
        assert_eq!(
            refused_part(Environment::new().params(&request, &Script::default())),
            "version",
            "{version}"
        );
    }
}

/// Rule E19.
#[test]
fn server_software_is_set() {
    assert!(params_with_headers(&[])
        .get("SERVER_SOFTWARE")
        .is_some_and(|name| name.starts_with("fcgi/0")));
}

/// Cookies are joined with `; `, other headers with `, `. Rule E20.
#[test]
fn headers_of_one_name_are_joined() {
    let params = params_with_headers(&[
        ("Foo-Bar", b"1"),
        ("Accept", b"a"),
        ("cookie", b"x=1"),
        ("ACCEPT", b" b "),
        ("Cookie", b"y=2"),
        ("accept", b"c"),
        ("X-Caf\u{65}", b"\xe9"),
    ]);
    assert_eq!(params.get("HTTP_FOO_BAR"), Some("1"));
    assert_eq!(params.get("HTTP_ACCEPT"), Some("a, b, c"));
    assert_eq!(params.get("HTTP_COOKIE"), Some("x=1; y=2"));
    assert_eq!(params.get_bytes("HTTP_X_CAFE"), Some(&b"\xe9"[..]));
    for name in ["HTTP_FOO_BAR", "HTTP_ACCEPT", "HTTP_COOKIE"] {
        assert_eq!(names(&params).iter().filter(|other| *other == name).count(), 1);
    }
}

/// Rule E20.
#[test]
fn joining_50000_headers_takes_linear_time() {
    let names: Vec<String> = (0..50_000).map(|number| format!("X-{number}")).collect();
    let headers: Vec<(&str, &[u8])> = names.iter().map(|name| (&name[..], &b"1"[..])).collect();
    let start = std::time::Instant::now();
    assert!(params_with_headers(&headers).len() > 50_000);
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
}

/// Rule E21.
#[test]
fn credentials_and_hop_by_hop_headers_are_omitted() {
    let omitted: Headers<'_> = &[
        ("Authorization", b"x"),
        ("proxy-authorization", b"x"),
        ("Content-Length", b"0"),
        ("Content-Type", b"a/b"),
        ("Connection", b"x"),
        ("Keep-Alive", b"x"),
        ("Proxy-Authenticate", b"x"),
        ("Proxy-Connection", b"x"),
        ("TE", b"x"),
        ("Trailer", b"x"),
        ("Upgrade", b"x"),
    ];
    assert!(!names(&params_with_headers(omitted)).iter().any(|name| name.starts_with("HTTP_")));
    let chunked: Headers<'_> = &[("Transfer-Encoding", b"chunked")];
    let chunked = params(&HttpRequest { content_length: Some(1), ..request("/", chunked) });
    assert_eq!(chunked.get("HTTP_TRANSFER_ENCODING"), None);
}

/// Rule E21.
#[test]
fn authorization_is_passed_only_on_request() {
    let environment = Environment::new().pass_authorization(true);
    let headers: Headers<'_> =
        &[("authorization", b"Bearer x"), ("Proxy-Authorization", b"Basic y")];
    let params = environment.params(&request("/", headers), &Script::default()).unwrap();
    assert_eq!(
        (params.get("HTTP_AUTHORIZATION"), params.get("HTTP_PROXY_AUTHORIZATION")),
        (Some("Bearer x"), None)
    );
}

/// Rule E22.
#[test]
fn proxy_header_never_becomes_http_proxy() {
    for name in ["Proxy", "proxy", "PROXY", "pRoXy"] {
        assert!(!names(&params_with_headers(&[(name, b"http://evil")]))
            .contains(&"HTTP_PROXY".to_owned()));
    }
    assert_eq!(
        params_with_headers(&[("Proxy-X", b"1"), ("X-Proxy", b"2")]).get("HTTP_PROXY_X"),
        Some("1")
    );
}

/// `X_Forwarded_For` must not override `X-Forwarded-For`, in either order. Rule E22.
#[test]
fn header_that_maps_to_the_name_of_another_is_dropped() {
    let good = ("X-Forwarded-For", &b"good"[..]);
    for bad in [
        "X_Forwarded_For",
        "X-Forwarded_For",
        "X.Forwarded.For",
        "X~Forwarded~For",
        "x_forwarded-for",
    ] {
        for headers in [[good, (bad, b"bad")], [(bad, b"bad"), good]] {
            let params = params_with_headers(&headers);
            assert_eq!(params.get("HTTP_X_FORWARDED_FOR"), Some("good"));
            assert_eq!(params.iter().filter(|(name, _)| name.starts_with(b"HTTP_")).count(), 1);
        }
    }
}

/// Rule E22.
#[test]
fn header_name_that_is_not_a_token_is_refused() {
    for name in ["", "Foo Bar", "Foo:", ":path", "Foo\0", "Foo\n", "F\u{f6}o", "Foo=", "Foo(1)"] {
        assert_eq!(refused_header(&[(name, b"x")]), "header", "{name:?}");
    }
}

/// Rules E23 and K24.
#[test]
fn value_with_nul_or_line_break_is_refused() {
    for bad in [&b"a\0b"[..], b"a\r\nb", b"a\nb", b"a\rb", b"\0", b"a\r\n b"] {
        for name in ["X-A", "Host", "Content-Type", "Authorization", "X_Dropped", "Proxy"] {
            let part = refused_header(&[(name, bad)]);
            assert!(part == name || part.ends_with("TYPE"), "{part}");
        }
        let mut params = Params::new();
        assert_eq!(refused_part(set_variable(&mut params, "X", bad)), "X");
        assert!(params.is_empty());
    }
    let newline = Environment::new()
        .document_root("/srv\n/www")
        .params(&request("/", &[]), &Script::default());
    assert_eq!(refused_part(newline), "DOCUMENT_ROOT");
    let nul =
        Environment::new().server_software("a\0b").params(&request("/", &[]), &Script::default());
    assert_eq!(refused_part(nul), "SERVER_SOFTWARE");
    let filename = Script::new("/a.php", "").filename("/srv/a\n.php");
    assert_eq!(refused_part(params_with_script(&filename)), "SCRIPT_FILENAME");
}

/// A header cannot set it. Rule E24.
#[test]
fn https_is_set_only_for_https_requests() {
    let secure = params(&HttpRequest { https: true, ..request("/", &[]) });
    assert_eq!((secure.get("HTTPS"), secure.get("REQUEST_SCHEME")), (Some("on"), Some("https")));
    let plain =
        params(&request("https://a.test/", &[("Https", b"on"), ("X-Forwarded-Proto", b"https")]));
    assert_eq!((plain.get("HTTPS"), plain.get("REQUEST_SCHEME")), (None, Some("http")));
}

/// Rule E24.
#[test]
fn script_filename_is_below_the_document_root_or_as_given() {
    // Compare as text, because paths are equal even with a redundant slash.
    let text = |path: PathBuf| path.to_str().unwrap().to_owned();
    let filename = |root: &str, script: &Script| {
        Environment::new().document_root(root).filename(script).map(text)
    };
    let script = Script::new("/d/a.php", "/x");
    for root in ["/srv/www", "/srv/www/"] {
        assert_eq!(filename(root, &script), Some("/srv/www/d/a.php".into()));
    }
    assert_eq!(filename("/", &script), Some("/d/a.php".into()));
    assert_eq!(Environment::new().filename(&script), None);

    let elsewhere = script.filename("/opt/app.php");
    assert_eq!(filename("/srv/www", &elsewhere), Some("/opt/app.php".into()));
    let params = params_with_script(&elsewhere).unwrap();
    assert_eq!(
        (params.get("SCRIPT_FILENAME"), params.get("PATH_TRANSLATED")),
        (Some("/opt/app.php"), Some("/srv/www/x"))
    );
}

/// Rule E24.
#[cfg(unix)]
#[test]
fn script_filename_may_contain_any_bytes() {
    use std::os::unix::ffi::OsStrExt;
    let script = Script::by_extension(decode_path("/%E9.php").unwrap(), ".php").unwrap();
    let filename = Environment::new().document_root("/srv").filename(&script).unwrap();
    assert_eq!(filename.as_os_str().as_bytes(), b"/srv/\xe9.php");
    assert_eq!(
        params_with_script(&script).unwrap().get_bytes("SCRIPT_FILENAME"),
        Some(&b"/srv/www/\xe9.php"[..])
    );
}

/// Rule E26.
#[test]
fn response_to_head_request_has_no_body() {
    let (head, body) = Head::parse(b"Content-Type: a/b\n\nbody").unwrap();
    let request = HttpRequest { method: "HEAD", ..request("/", &[]) };
    assert!(!body.is_empty() && !head.has_body(request.method));
}

/// Rule C25.
#[test]
fn authorizer_params_omit_script_and_body() {
    let request = HttpRequest { content_length: Some(3), ..request("/app.php/x", &[]) };
    let environment = Environment::new().document_root("/srv/www");
    let params = environment.params(&request, &Script::new("/app.php", "/x")).unwrap();
    let (before, after) = (names(&params), names(&params_for_authorizer(params)));
    let omitted: Vec<_> = before.iter().filter(|name| !after.contains(name)).collect();
    assert_eq!(omitted, ["CONTENT_LENGTH", "SCRIPT_NAME", "PATH_INFO", "PATH_TRANSLATED"]);
}

/// Rule C25.
#[test]
fn authorizer_variables_are_added_to_the_params() {
    let (head, _) =
        Head::parse(b"Status: 200\nVariable-AUTH_METHOD: a\nVariable-Auth-Method: b\n\n").unwrap();
    let mut params = Params::from_pairs([("REMOTE_ADDR", "192.0.2.7")]).unwrap();
    for (name, value) in head.variables() {
        set_variable(&mut params, name, value).unwrap();
    }
    let expected = [("REMOTE_ADDR", "192.0.2.7"), ("AUTH_METHOD", "b")];
    assert_eq!(params, Params::from_pairs(expected).unwrap());
    for bad in ["", "A B", "A=B", "A\0", "\u{c4}", "A.B"] {
        assert_eq!(refused_part(set_variable(&mut params, bad, "x")), "variable", "{bad:?}");
    }
}

/// Percent-encodes every byte of a path but the unreserved ones and the slash.
fn encoded(path: &[u8]) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    path.iter()
        .map(
            |&byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") },
        )
        .collect()
}

proptest! {
    /// Rule E15.
    #[test]
    fn decoded_path_encodes_to_the_original(path in "/([a-z .%?+&\u{e9}-]{0,6}/){0,4}[a-z]{0,5}") {
        prop_assume!(!path.split('/').any(|segment| segment == ".."));
        let encoded_path = encoded(path.as_bytes());
        let decoded = decode_path(&encoded_path).unwrap();
        prop_assert_eq!(&decoded[..], path.as_bytes());
        prop_assert_eq!(encoded(&decoded), encoded_path);
    }

    /// Rule E8.
    #[test]
    fn decoded_path_has_no_parent_segment_or_control_byte(
        path in "/(\\.|%2[eE]|/|\\\\|%5c|%00|%0a|a|%2f){0,12}",
    ) {
        if let Ok(decoded) = decode_path(&path) {
            let mut segments = decoded.split(|byte| b"/\\".contains(byte));
            let has_parent = segments.any(|segment| segment == b"..");
            prop_assert!(!has_parent && decoded.iter().all(|&byte| byte >= b' '), "{:?}", decoded);
        }
    }

    /// Rules E1 and E23.
    #[test]
    fn variables_are_unique_and_have_no_line_break(
        headers in prop::collection::vec(("[A-Ca-c_.-]{1,2}", "[ -~\r\n\0]{0,5}"), 0..12),
    ) {
        let headers: Vec<(&str, &[u8])> =
            headers.iter().map(|(name, value)| (&name[..], value.as_bytes())).collect();
        let result = Environment::new().params(&request("/", &headers), &Script::default());
        let mut bytes = headers.iter().flat_map(|(_, value)| *value);
        prop_assert_eq!(result.is_err(), bytes.any(|byte| b"\r\n\0".contains(byte)));
        if let Ok(params) = result {
            let mut names = names(&params);
            names.sort();
            names.dedup();
            prop_assert_eq!(names.len(), params.len());
        }
    }
}
