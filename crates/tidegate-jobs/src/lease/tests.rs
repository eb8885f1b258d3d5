use proptest::prelude::*;

use super::target::{path, url};
use super::*;

fn read(json: &str) -> Result<Lease, Fault> {
    Lease::read(&RawValue::from_string(json.to_owned()).unwrap())
}

fn lease(namespace: &str, patterns: &[&str]) -> Lease {
    let grants = BTreeMap::from([(namespace, patterns)]);
    read(&serde_json::to_string(&grants).unwrap()).unwrap()
}

fn is_covered(namespace: &str, parent: &str, child: &str) -> bool {
    lease(namespace, &[parent]).covers(&lease(namespace, &[child])).is_ok()
}

#[test]
fn a_lease_is_read_as_it_was_written() {
    let json = r#"{"agent.delegate":["pdf-renderer@*"],"cost.budget":["USD:5.00"],"fs.read":["/w/**","/w/**"],"model.use":[],"x-vendor.acme.scan":["a..\\b"]}"#;
    let lease = read(json).unwrap();
    assert_eq!(serde_json::to_string(&lease).unwrap(), json);
    assert_eq!(serde_json::from_str::<Lease>(json).unwrap(), lease);
    assert_eq!(lease.patterns("fs.read").len(), 2);
    assert!(lease.patterns("fs.write").is_empty() && lease.names("model.use") && !lease.names("fs.write"));
    assert_eq!(lease.budget().unwrap().iter().next().unwrap().1.to_string(), "5.00");
    for empty in ["null", "{}", r#"{"fs.read":null}"#] {
        assert!(read(empty).unwrap().is_empty() && read(empty).unwrap().budget().is_none(), "{empty}");
    }
}

#[test]
fn what_could_never_match_is_refused_with_its_place() {
    for (json, place) in [
        ("[]", "lease: "),
        ("1", "lease: "),
        (r#"{"fs.read":"/a"}"#, "lease.fs.read: "),
        (r#"{"fs.read":["/a",1]}"#, "lease.fs.read: "),
        (r#"{"fs.exec":["/a"]}"#, "lease.fs.exec: "),
        (r#"{"x-vendor.acme":[]}"#, "lease.x-vendor.acme: "),
        (r#"{"fs.read":["/a","/a/../b"]}"#, "lease.fs.read[1]: "),
        (r#"{"fs.read":["/a/%2e%2e/b"]}"#, "lease.fs.read[0]: "),
        (r#"{"fs.read":["a/b"]}"#, "lease.fs.read[0]: "),
        (r#"{"fs.read":["*/b"]}"#, "lease.fs.read[0]: "),
        (r#"{"fs.read":[""]}"#, "lease.fs.read[0]: "),
        (r#"{"fs.read":["C:\\a"]}"#, "lease.fs.read[0]: "),
        (r#"{"fs.read":["/a\u0000"]}"#, "lease.fs.read[0]: "),
        (r#"{"fs.read":["/***"]}"#, "lease.fs.read[0]: "),
        (r#"{"net.fetch":["example.com/**"]}"#, "lease.net.fetch[0]: "),
        (r#"{"net.fetch":["https://a@example.com/"]}"#, "lease.net.fetch[0]: "),
        (r#"{"net.fetch":["https://example.com/../x"]}"#, "lease.net.fetch[0]: "),
        (r#"{"net.fetch":["https://example.com/#x"]}"#, "lease.net.fetch[0]: "),
        (r#"{"net.fetch":["https://example.com:*/"]}"#, "lease.net.fetch[0]: "),
        (r#"{"net.fetch":["*://example.com/"]}"#, "lease.net.fetch[0]: "),
        (r#"{"net.fetch":["file://host/etc/**"]}"#, "lease.net.fetch[0]: "),
        (r#"{"net.fetch":["https://b\u00fc*.de/"]}"#, "lease.net.fetch[0]: "),
        (r#"{"tool.call":["a/../b"]}"#, "lease.tool.call[0]: "),
        (r#"{"model.use":["/a"]}"#, "lease.model.use[0]: "),
        (r#"{"cost.budget":["USD:1","USD:-1"]}"#, "lease.cost.budget[1]: "),
    ] {
        let fault = read(json).unwrap_err();
        assert_eq!(fault.code, Code::InvalidRequest, "{json}");
        assert!(fault.message.starts_with(place), "{json}: {fault}");
    }
    let many = |count: usize| serde_json::to_string(&BTreeMap::from([("fs.read", vec!["/a"; count])])).unwrap();
    assert!(read(&many(PATTERNS_MAX)).is_ok() && read(&many(PATTERNS_MAX + 1)).is_err());
    let long = |length: usize| format!(r#"{{"tool.call":["{}"]}}"#, "a".repeat(length));
    assert!(read(&long(PATTERN_BYTES_MAX)).is_ok() && read(&long(PATTERN_BYTES_MAX + 1)).is_err());
    assert!(read(&long(LEASE_BYTES_MAX)).is_err());
}

#[test]
fn paths_are_compared_in_one_spelling() {
    let own = lease("fs.read", &["/workspace/**", "//etc/./hosts/"]);
    for target in
        ["/workspace", "/workspace/", "/workspace/a", "/workspace//a/./b/../c", "/a/../workspace/x", "/etc//hosts"]
    {
        assert_eq!(own.permits(Namespace::FsRead, target), Ok(()), "{target}");
    }
    for target in [
        "",
        "/",
        "workspace/a",
        "./workspace",
        "~/a",
        "/workspacex",
        "/workspace/..",
        "/workspace/../etc/passwd",
        "/workspace/a/../../etc",
        "/workspace/%2e%2e/etc",
        "/workspace/%2E./etc",
        "/workspace/a%2f..%2fb",
        "/workspace/..\\etc",
        "/workspace/a\0b",
        "/workspace/%252e%252e/etc",
        "/workspace/%c0%ae/x",
        "/WORKSPACE/a",
        "/../../etc/passwd",
    ] {
        assert_eq!(own.permits(Namespace::FsRead, target).unwrap_err().code, Code::PermissionDenied, "{target}");
    }
    assert!(own.permits(Namespace::FsWrite, "/workspace/a").is_err(), "a grant is one namespace's");
    assert!(lease("fs.read", &["**/*.rs"]).permits(Namespace::FsRead, "/a/b.rs").is_ok());
    let long = own.permits(Namespace::FsRead, &"ä".repeat(5000)).unwrap_err();
    assert!(long.message.len() < 600);
}

#[test]
fn urls_are_compared_in_one_spelling() {
    let own = lease(
        "net.fetch",
        &["HTTPS://API.Example.com:443/v1/**", "http://10.0.0.1:8080/x", "s3://example/**", "https://b\u{fc}cher.de/*"],
    );
    for target in [
        "https://api.example.com/v1/a?q=1&path=../x",
        "https://api.example.com./v1#top",
        "https://api.example.com/v1//a/./b/c",
        "https://API.EXAMPLE.COM:443/v1/%7Eme",
        "http://0x0A.0.0.1:8080/x",
        "http://167772161:8080/x",
        "s3://example/sales.csv",
        "https://xn--bcher-kva.de/a",
        "https://api.example.com/x/%2e%2E/v1/a",
        "https://%61pi.example.com/v1/100%25",
    ] {
        assert_eq!(own.permits(Namespace::NetFetch, target), Ok(()), "{target}");
    }
    for target in [
        "http://api.example.com/v1/a",
        "https://api.example.com:8443/v1/a",
        "https://api.example.com/v2",
        "https://api.example.com/v1/../v2",
        "https://api.example.com/v1/%2e%2e/v2",
        "https://api.example.com/v1/%2e%2e%2fv2",
        "https://api.example.com/v1/..%5cv2",
        "https://api.example.com/v1/..;/v2",
        "https://api.example.com/v1/%2f/%2e.",
        "https://api.example.com/v1/a/..;/..",
        "https://api.example.com/v1/;/../v2",
        "https://api.example.com/v1/%252e%252e/v2",
        "https://api.example.com/v1/x//../../v2",
        "https://api.example.com/v1/x//../y",
        "https://user@api.example.com/v1/a",
        "https://@api.example.com/v1/a",
        "https://evil.com\\@api.example.com/v1/a",
        "https://api.example.com@evil.com/v1/a",
        "https:/api.example.com/v1/a",
        "https:api.example.com/v1/a",
        "https:///api.example.com/v1/a",
        " https://api.example.com/v1/a",
        "https://api.example.com/v1/a\n",
        "https:u@evil.com://api.example.com/v1/a",
        "http://10.0.0.1:8080/x?a=1",
        "http://10.0.0.1/x",
        "s3://other/a",
        "s3://example/../a/../../b#",
        "//api.example.com/v1/a",
        "/v1/a",
        "javascript:alert(1)//https://api.example.com/v1/",
        "https://api.example.com..//v1/a",
        "",
        "s3://exampl%65/a",
        "https://api.example.com/v1/%c0%af..",
        "https://api.example.com.evil.com/v1/a",
    ] {
        // The one of them that stays inside.
        if target == "s3://example/../a/../../b#" {
            assert_eq!(own.permits(Namespace::NetFetch, target), Ok(()));
            continue;
        }
        assert_eq!(own.permits(Namespace::NetFetch, target).unwrap_err().code, Code::PermissionDenied, "{target}");
    }
}

#[test]
fn stars_in_urls_stay_within_their_part() {
    let may = |pattern: &str, target: &str| lease("net.fetch", &[pattern]).permits(Namespace::NetFetch, target).is_ok();
    assert!(may("https://*.example.com/**", "https://a.example.com/x/y?z"));
    assert!(
        !may("https://*.example.com/**", "https://a.b.example.com/")
            && !may("https://*.example.com/**", "https://example.com/")
    );
    assert!(
        !may("https://*.example.com/**", "https://evil.com/x.example.com/") && !may("https://*/x", "https://a:8443/x")
    );
    assert!(
        may("https://**.example.com/**", "https://a.b.example.com/")
            && !may("https://**.example.com/**", "https://evil.com/a.example.com/")
    );
    assert!(
        may("https://**", "https://any.host/x/y?z=1")
            && !may("https://**", "http://any.host/")
            && !may("https://**", "https://h:444/")
    );
    assert!(may("https://h", "https://h/") && !may("https://h", "https://h/a") && !may("https://h/a", "https://h/a?b"));
    assert!(
        may("https://h/a?q=*", "https://h/a?q=1")
            && !may("https://h/a?q=*", "https://h/a?p=1")
            && !may("https://h/a?q=*", "https://h/a")
    );
    assert!(!may("https://h/**/open", "https://h/secret?/open") && may("https://h/a/*", "https://h/a/b?c"));
    assert!(may("http://[::1]:80/*", "http://[0:0::1]/a"));
}

#[test]
fn names_are_matched_as_they_are() {
    let may = |op: Namespace, pattern: &str, target: &str| lease(op.name(), &[pattern]).permits(op, target).is_ok();
    assert!(
        may(Namespace::ToolCall, "search.*", "search.web.deep") && !may(Namespace::ToolCall, "search.*", "searchx")
    );
    assert!(!may(Namespace::ToolCall, "search.*", "search.a/b") && !may(Namespace::ToolCall, "Search", "search"));
    assert!(
        may(Namespace::ModelUse, "tier-fast/*", "tier-fast/small")
            && !may(Namespace::ModelUse, "tier-fast/*", "tier-fast/../big")
    );
    assert!(may(Namespace::ModelUse, "anthropic/claude-3-opus-*", "anthropic/claude-3-opus-20240229"));
    assert!(!may(Namespace::ModelUse, "*", "a/b") && may(Namespace::ModelUse, "**", "a/b"));
    assert!(
        may(Namespace::AgentDelegate, "helper", "helper@1.0.0") && may(Namespace::AgentDelegate, "helper", "helper")
    );
    assert!(may(Namespace::AgentDelegate, "pdf@*", "pdf@2") && may(Namespace::AgentDelegate, "pdf@*", "pdf"));
    assert!(!may(Namespace::AgentDelegate, "pdf@1", "pdf") && !may(Namespace::AgentDelegate, "pdf@1", "pdf@2"));
    assert!(!may(Namespace::AgentDelegate, "pdf", "pdfx@1") && may(Namespace::AgentDelegate, "*", "pdf@1"));
}

#[test]
fn a_child_has_no_more_than_its_parent() {
    assert!(is_covered("net.fetch", "https://*.example.com/**", "https://a.example.com/v1/*"));
    assert!(
        is_covered("net.fetch", "https://**", "https://a.example.com/v1?x=*")
            && is_covered("net.fetch", "https://h/a", "https://h:443/a")
    );
    assert!(
        !is_covered("net.fetch", "https://h/**", "http://h/a")
            && !is_covered("net.fetch", "https://h/a", "https://h/a?*")
    );
    assert!(!is_covered("net.fetch", "https://*.example.com/**", "https://**.example.com/**"));
    assert!(is_covered("agent.delegate", "helper", "helper@1") && !is_covered("agent.delegate", "helper@1", "helper"));
    assert!(is_covered("x-vendor.acme.scan", "a*", "a*") && !is_covered("x-vendor.acme.scan", "a*", "ab"));
    assert!(is_covered("fs.read", "/a/**", "/a/b//c/") && !is_covered("fs.read", "/a/*", "/a/**"));
    let parent = read(r#"{"fs.read":["/a/**","/b"],"cost.budget":["USD:1"]}"#).unwrap();
    assert!(parent.covers(&read(r#"{"fs.read":["/b","/a/x"],"cost.budget":["EUR:9"]}"#).unwrap()).is_ok());
    let fault = parent.covers(&read(r#"{"fs.read":["/b","/c"]}"#).unwrap()).unwrap_err();
    assert_eq!(
        (fault.code, &*fault.message),
        (Code::LeaseSubsetViolation, "lease.fs.read[1]: it is not within the parent's lease")
    );
    assert!(parent.covers(&lease("fs.write", &["/b"])).is_err() && parent.covers(&lease("fs.write", &[])).is_ok());
}

#[test]
fn a_child_does_not_lose_its_parents_list_of_models() {
    let parent = lease("model.use", &["tier-fast/*"]);
    let child = Lease::default();
    assert_eq!(parent.covers(&child).unwrap_err().code, Code::LeaseSubsetViolation);
    let child = child.under(&parent);
    assert!(parent.covers(&child).is_ok() && child.names("model.use"));
    assert!(child.permits(Namespace::ModelUse, "tier-fast/small").is_err());
    assert!(!Lease::default().under(&Lease::default()).names("model.use"));
}

/// How somebody may read a path who undoes escapes, more than once, takes backslashes for slashes, and in URLs `..;x` for `..`.
fn resolved(path: &str, has_parameters: bool) -> Vec<String> {
    let mut text = path.to_ascii_lowercase();
    for _ in 0..3 {
        for (escape, plain) in [("%25", "%"), ("%2e", "."), ("%2f", "/"), ("%5c", "/")] {
            text = text.replace(escape, plain);
        }
    }
    let mut stack = Vec::new();
    for segment in text.replace('\\', "/").split('/') {
        match segment.split(';').next().filter(|_| has_parameters).unwrap_or(segment) {
            "" | "." => {}
            ".." => drop(stack.pop()),
            _ => stack.push(segment.to_owned()),
        }
    }
    stack
}

fn hostile() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "/",
        "/",
        "/",
        "//",
        ".",
        "..",
        "%2e",
        "%2E%2e",
        "%2f",
        "%5C",
        "\\",
        "%252e%252e",
        "%25",
        "25",
        "2f",
        ";",
        "a",
        "work",
        "etc",
        "?",
        "#",
        "é",
    ]);
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

fn paths() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["/", "a", "b", "*", "/**", "/*", "/a", "/**/", "/.", "//"]), 1..7)
        .prop_map(|parts| format!("/{}", parts.concat()))
}

fn urls() -> impl Strategy<Value = String> {
    let scheme = prop::sample::select(vec!["http://", "https://", "HTTP://"]);
    let host = prop::collection::vec(prop::sample::select(vec!["a", "B", "*", "**", ".a", ".*", ".**"]), 1..4);
    let rest = prop::sample::select(vec![
        "", "/", "/a", "/*", "/**", "/a/*", "/a?b", "/a?*", "/**?**", "/%61/**", "/**/b", ":80/a", "/a/b?c/d",
    ]);
    (scheme, host, rest).prop_map(|(scheme, host, rest)| format!("{scheme}{}{rest}", host.concat()))
}

fn names() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "*", "**", "/a", "/*", "@", "@1", "."]), 1..5)
        .prop_map(|parts| parts.concat())
}

fn one(namespace: Namespace, pattern: &str) -> Option<Lease> {
    read(&serde_json::to_string(&BTreeMap::from([(namespace.name(), [pattern])])).unwrap()).ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn a_path_that_goes_up_never_leaves_its_grant(rest in hostile()) {
        let target = format!("/work/{rest}");
        if lease("fs.read", &["/work/**"]).permits(Namespace::FsRead, &target).is_ok() {
            prop_assert!(resolved(&target, false).first().is_some_and(|first| first == "work"), "{}", target);
        }
    }

    #[test]
    fn a_url_that_goes_up_never_leaves_its_grant(rest in hostile()) {
        let target = format!("https://h/work/{rest}");
        if lease("net.fetch", &["https://h/work/**"]).permits(Namespace::NetFetch, &target).is_ok() {
            let path = &target["https://h".len()..];
            let path = &path[..path.find(['?', '#']).unwrap_or(path.len())];
            prop_assert!(resolved(path, true).first().is_some_and(|first| first == "work"), "{}", target);
        }
    }

    #[test]
    fn what_is_canonical_stays_so(rest in hostile(), any in "\\PC{0,30}") {
        for rest in [&rest, &any] {
            if let Ok(once) = path(&format!("/{rest}")) {
                prop_assert_eq!(path(&once), Ok(once));
            }
            if let Ok(once) = url(&format!("https://h/{rest}")) {
                prop_assert_eq!(url(&format!("https://{}{}{}", once.host, once.path, once.query)), Ok(once));
            }
            if let Ok(once) = url(&format!("http://{rest}")) {
                let port = once.origin.replace("http:", "");
                prop_assert_eq!(url(&format!("http://{}:{port}{}{}", once.host, once.path, once.query)), Ok(once));
            }
        }
    }

    #[test]
    fn a_parent_permits_all_that_a_covered_child_permits(
        pairs in (
            (paths(), paths(), prop::collection::vec(paths(), 16)),
            (urls(), urls(), prop::collection::vec(urls(), 16)),
            (names(), names(), prop::collection::vec(names(), 16)),
        )
    ) {
        let (of_paths, of_urls, of_names) = pairs;
        for (op, (parent, child, targets)) in [
            (Namespace::FsWrite, of_paths), (Namespace::NetFetch, of_urls), (Namespace::ToolCall, of_names.clone()), (Namespace::AgentDelegate, of_names),
        ] {
            let (Some(parent), Some(child)) = (one(op, &parent), one(op, &child)) else { continue };
            prop_assert_eq!(parent.covers(&parent), Ok(()));
            if parent.covers(&child).is_ok() {
                // Patterns are targets too: with the stars as they are, and with something for them.
                for target in targets.iter().flat_map(|target| [target.clone(), target.replace("**", "x/y").replace('*', "z")]) {
                    prop_assert!(child.permits(op, &target).is_err() || parent.permits(op, &target).is_ok(), "{:?} {:?} {}", parent, child, target);
                }
            }
        }
    }
}
