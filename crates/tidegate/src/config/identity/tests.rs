use std::path::Path;

use insta::assert_snapshot;
use tidegate_identity::SessionStore;

use super::*;
use crate::config::{Config, Flags};

const SECRET: &str = "a-secret-of-more-than-thirty-two-bytes";

fn load(text: &str) -> Result<Config, ConfigError> {
    Config::layered(Some((Path::new("t.toml"), text)), [], &Flags::default())
}

fn refusal(text: &str) -> String {
    load(text).unwrap_err().to_string()
}

fn with_redis(rest: &str) -> Result<Config, ConfigError> {
    load(&format!("[identity.sessions]\nredis = \"rediss://cache:6380\"\n{rest}"))
}

fn redis(config: &Config) -> &RedisSettings {
    match &config.identity.sessions.store {
        SessionStore::Redis(redis) => redis,
        SessionStore::Embedded(_) => panic!("no Redis"),
    }
}

#[test]
fn the_documented_defaults_are_those_of_the_room() {
    let mut settings = read(&Layers::defaults().unwrap()).unwrap();
    let SessionStore::Embedded(path) = &mut settings.sessions.store else { panic!("Redis by default") };
    *path = path.strip_prefix("./tidegate-data").unwrap().into();
    assert_eq!(format!("{settings:?}"), format!("{:?}", Settings::default()));
    // Those of a hook and of Redis show themselves only where one is configured.
    let hook =
        load("[identity.hook]\nurl = \"https://app.example/who\"\nsecret = \"s\"\n").unwrap().identity.hook.unwrap();
    assert_eq!((hook.timeout.as_millis(), hook.asked_max, hook.cache_max), (2_000, 256, 10_000));
    assert_eq!(hook.headers, ["cookie"]);
    let redis = redis(&with_redis("").unwrap()).clone();
    assert_eq!((&*redis.stream, &*redis.key_prefix), ("session_events", "session:"));
    assert_eq!(redis.read_block.as_millis(), 5_000);
}

#[test]
fn issuers_are_read_with_their_keys() {
    let directory = tempfile::TempDir::new().unwrap();
    let file = directory.path().join("key.pem");
    std::fs::write(&file, "-----BEGIN PUBLIC KEY-----\n").unwrap();
    let config = load(&format!(
        "[[identity.issuer]]\nissuer = \"https://id.example\"\naudience = \"tidegate\"\nalgorithm = \"HS256\"\nsecret = \"{SECRET}\"\n\
         [[identity.issuer]]\nissuer = \"b\"\nalgorithm = \"EdDSA\"\npublic_key_file = {file:?}\n\
         [[identity.issuer]]\nissuer = \"c\"\nalgorithm = \"RS256\"\njwks_url = \"https://id.example/keys\"\n\
         [identity.claims]\nuser = \"user.id\"\n"
    ))
    .unwrap();
    let [shared, pem, jwks] = &config.identity.issuers[..] else { panic!("not three") };
    assert_eq!((&*shared.issuer, shared.audience.as_deref()), ("https://id.example", Some("tidegate")));
    assert!(matches!(&shared.keys, Keys::Secret(secret) if secret.is(SECRET)));
    assert_eq!((pem.algorithm, jwks.algorithm), (Algorithm::EdDsa, Algorithm::Rs256));
    assert!(matches!(&pem.keys, Keys::Pem(text) if text.contains("PUBLIC KEY")));
    assert!(matches!(&jwks.keys, Keys::Jwks(url) if url.host() == Some("id.example")));
    assert_eq!((&*config.identity.claims.user, &*config.identity.claims.session), ("user.id", "sid"));
    assert!(!format!("{config:?}{}{}", config.show(), config.show_json()).contains(SECRET));
    assert!(config.show().contains("[[identity.issuer]]\nissuer = \"https://id.example\""));
}

#[test]
fn issuers_that_break_a_rule_are_named() {
    let with = |lines: &str| refusal(&format!("[[identity.issuer]]\n{lines}"));
    let named = |lines: &str| with(&format!("issuer = \"i\"\n{lines}"));
    assert_snapshot!(with("algorithm = \"HS256\""), @"identity.issuer[0]: missing field `issuer`");
    assert_snapshot!(with("issuer = \"\"\nalgorithm = \"HS256\""), @r#"identity.issuer[0].issuer = "": must be what `iss` is in its tokens"#);
    assert_snapshot!(named("algorithm = \"HS256\"\naudience = \"\""), @r#"identity.issuer[0].audience = "": must be what `aud` is in its tokens, or be left out"#);
    assert_snapshot!(named("algorithm = \"none\"\nsecret = \"hunter2\""), @r#"identity.issuer[0].algorithm = "none": no such signature algorithm; there are HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA"#);
    assert_snapshot!(named("algorithm = \"HS256\""), @"identity.issuer[0]: HS256 needs `secret`, and neither `public_key_file` nor `jwks_url`");
    assert_snapshot!(named("algorithm = \"HS256\"\nsecret = \"\""), @"identity.issuer[0].secret: must be a string that is not empty");
    assert_snapshot!(named("algorithm = \"HS256\"\nsecret = 271828"), @"identity.issuer[0].secret: must be a string that is not empty");
    assert_snapshot!(named("algorithm = \"HS256\"\nsecret = \"hunter2\"\njwks_url = \"https://i\""), @"identity.issuer[0]: HS256 needs `secret`, and neither `public_key_file` nor `jwks_url`");
    assert_snapshot!(named("algorithm = \"RS256\"\nsecret = \"hunter2\""), @"identity.issuer[0]: RS256 needs either `public_key_file` or `jwks_url`, and no `secret`");
    assert_snapshot!(named("algorithm = \"RS256\""), @"identity.issuer[0]: RS256 needs either `public_key_file` or `jwks_url`, and no `secret`");
    assert_snapshot!(named("algorithm = \"ES256\"\npublic_key_file = \"/no/such.pem\""), @r#"identity.issuer[0].public_key_file = "/no/such.pem": cannot be read: No such file or directory (os error 2)"#);
    assert_snapshot!(named("algorithm = \"ES256\"\njwks_url = \"file:///etc/passwd\""), @r#"identity.issuer[0].jwks_url = "file:///etc/passwd": must be http:// or https:// with a host"#);
    assert_snapshot!(named("algorithm = \"ES256\"\njwks_url = \"https://u:hunter2@id\""), @"identity.issuer[0].jwks_url: must have no user or password");
    assert_snapshot!(named("algoritm = \"ES256\""), @"identity.issuer[0]: unknown field `algoritm`, expected one of `issuer`, `audience`, `algorithm`, `secret`, `public_key_file`, `jwks_url`");
    assert_snapshot!(refusal("[identity]\nissuer = \"i\""), @"identity.issuer: must be tables, each beginning with [[identity.issuer]]");
}

#[test]
fn settings_of_identity_that_break_a_rule_are_named() {
    let with = |section: &str, line: &str| refusal(&format!("[identity{section}]\n{line}"));
    assert_snapshot!(with("", "api_keys = [\"\"]"), @"identity.api_keys[0]: must not be empty");
    assert_snapshot!(with("", "required_claims = [\"exp\", \"\"]"), @"identity.required_claims[1]: must not be empty");
    assert_snapshot!(with("", "leeway_ms = 600001"), @"identity.leeway_ms = 600001 (from t.toml): must be between 0 and 600000");
    assert_snapshot!(with("", "max_token_bytes = 0"), @"identity.max_token_bytes = 0 (from t.toml): must be between 256 and 1048576");
    assert_snapshot!(with("", "jwks_floor_ms = 0"), @"identity.jwks_floor_ms = 0 (from t.toml): must be between 1 and 86400000");
    assert_snapshot!(with("", "jwks_max_age_ms = 1000"), @"identity.jwks_max_age_ms = 1000 (from t.toml): must not be less than identity.jwks_floor_ms");
    assert_snapshot!(with("", "jwks_timeout_ms = 0"), @"identity.jwks_timeout_ms = 0 (from t.toml): must be between 1 and 86400000");
    assert_snapshot!(with("", "issuers = []"), @"identity.issuers: there is no such key; [identity] has anonymous, api_keys, required_claims, leeway_ms, max_token_bytes, jwks_floor_ms, jwks_max_age_ms, jwks_timeout_ms, cookie, query_token, claims, sessions, proof, hook, limits, issuer");
    assert_snapshot!(with("", "sessions = \"redis://x\""), @"identity.sessions: is a section: [identity.sessions]");
    let rule = "needs the pages that may send it in edge.allowed_origins, and not \"*\"";
    for origins in ["[]", "[\"*\"]", "[\"https://app.example\", \"*\"]"] {
        let refused = with("", &format!("cookie = \"gate\"\n[edge]\nallowed_origins = {origins}"));
        assert_eq!(refused, format!("identity.cookie = \"gate\" (from t.toml): {rule}"));
    }
    assert_snapshot!(with("", "cookie = \"a b\""), @r#"identity.cookie = "a b" (from t.toml): must be the name of a cookie, such as "session""#);
    assert_snapshot!(with(".claims", "user = \"\""), @r#"identity.claims.user = "" (from t.toml): must be 1 to 256 bytes"#);
    assert_snapshot!(with(".claims", "role = \"r\""), @"identity.claims.role: there is no such key; [identity.claims] has user, tenant, session, roles");
    assert_snapshot!(with(".proof", "challenge_ttl_ms = 0"), @"identity.proof.challenge_ttl_ms = 0 (from t.toml): must be between 1 and 86400000");
    assert_snapshot!(with(".proof", "answered_max = 0"), @"identity.proof.answered_max = 0 (from t.toml): must be between 1 and 268435456");
    assert_snapshot!(with(".proof", "required = \"yes\""), @r#"identity.proof.required = "yes" (from t.toml): must be true or false"#);
    assert_snapshot!(with(".hook", "secret = \"hunter2\""), @r#"identity.hook.url = "" (from default): is needed beside identity.hook.secret"#);
    assert_snapshot!(with(".hook", "url = \"https://app.example\""), @"identity.hook.secret (from default): is needed beside identity.hook.url: by it the application knows who asks");
    assert_snapshot!(with(".hook", "url = \"app.example\"\nsecret = \"hunter2\""), @r#"identity.hook.url = "app.example": must be http:// or https:// with a host"#);
    assert_snapshot!(with(".hook", "url = \"https://u:hunter2@app\"\nsecret = \"s\""), @"identity.hook.url: must have no user or password");
    assert_snapshot!(with(".hook", "headers = [\"a b\"]"), @r#"identity.hook.headers = ["a b"] (from t.toml): "a b" is no name of a header"#);
    assert_snapshot!(with(".hook", "headers = [\"authorization\"]"), @r#"identity.hook.headers = ["authorization"] (from t.toml): must not name "authorization": who shows a token there is not asked about"#);
    assert_snapshot!(with(".hook", "headers = []"), @"identity.hook.headers = [] (from t.toml): must name a header: without any the application cannot tell people apart");
    let open = "url = \"https://app.example\"\nsecret = \"s\"\n[edge]\nallowed_origins = [\"*\"]";
    assert_snapshot!(with(".hook", open), @r#"identity.hook.headers = ["cookie"] (from default): may have "cookie" only where edge.allowed_origins names the pages, and not "*""#);
    assert_snapshot!(with(".hook", "timeout_ms = 0"), @"identity.hook.timeout_ms = 0 (from t.toml): must be between 1 and 86400000");
    assert_snapshot!(with(".limits", "user_connections = -1"), @"identity.limits.user_connections = -1 (from t.toml): must be between 0 and 268435456");
    assert_snapshot!(with(".hook", "secret = 271828"), @"identity.hook.secret (from t.toml): must be a string");
}

#[test]
fn settings_of_sessions_that_break_a_rule_are_named() {
    let sessions = |line: &str| refusal(&format!("[identity.sessions]\n{line}"));
    let redis = |line: &str| with_redis(line).unwrap_err().to_string();
    for wrong in ["http://x", "cache:6379", "redis://", "redis://x/y", "redis://x?db=1", "redis://u:hunter2@x:no/0"] {
        let refused = sessions(&format!("redis = \"{wrong}\""));
        assert_eq!(refused, "identity.sessions.redis (from t.toml): must be redis://host:6379/0, or rediss:// for TLS");
    }
    assert_snapshot!(sessions("password = \"hunter2\""), @"identity.sessions.password (from t.toml): is for identity.sessions.redis; set that, or leave this out");
    assert_snapshot!(sessions("when_stale = 3"), @"identity.sessions.when_stale = 3 (from t.toml): must be a string");
    assert_snapshot!(redis("database = -1"), @"identity.sessions.database = -1 (from t.toml): must be between 0 and 65535");
    assert_snapshot!(redis("user = \"u\""), @"identity.sessions.password (from default): is needed beside a user");
    assert_snapshot!(redis("stream = \"\""), @r#"identity.sessions.stream = "" (from t.toml): must be 1 to 256 bytes"#);
    assert_snapshot!(redis("key_prefix = \"\""), @r#"identity.sessions.key_prefix = "" (from t.toml): must be 1 to 256 bytes"#);
    assert_snapshot!(redis("lookup_timeout_ms = 0"), @"identity.sessions.lookup_timeout_ms = 0 (from t.toml): must be between 1 and 86400000");
    assert_snapshot!(redis("read_block_ms = 0"), @"identity.sessions.read_block_ms = 0 (from t.toml): must be between 1 and 86400000");
    assert_snapshot!(redis("max_stale_ms = 0"), @"identity.sessions.max_stale_ms = 0 (from t.toml): must be between 1 and 86400000");
    assert_snapshot!(redis("when_stale = \"never\""), @r#"identity.sessions.when_stale = "never" (from t.toml): must be "keep" or "close""#);
    assert_snapshot!(redis("cache_max = 0"), @"identity.sessions.cache_max = 0 (from t.toml): must be between 1 and 268435456");
    let said = |line: &str| sessions(&format!("redis = \"redis://u:hunter2@cache/3\"\n{line}"));
    assert_snapshot!(said("database = 3"), @"identity.sessions.database = 3 (from t.toml): is said by the address as well; say it once");
    assert_snapshot!(said("user = \"u\""), @r#"identity.sessions.user = "u" (from t.toml): is said by the address as well; say it once"#);
    assert_snapshot!(said("password = \"hunter2\""), @"identity.sessions.password (from t.toml): is said by the address as well; say it once");
    assert_snapshot!(said("root_certificate = \"ca.pem\""), @r#"identity.sessions.root_certificate = "ca.pem" (from t.toml): is for rediss://, with TLS"#);
}

#[test]
fn a_redis_is_addressed_by_parts_and_never_shown() {
    let config =
        with_redis("user = \"tide\"\npassword = \"p@ss/wörd\"\ndatabase = 3\nwhen_stale = \"close\"\n").unwrap();
    assert_eq!(redis(&config).url.expose(), "rediss://tide:p%40ss%2Fw%C3%B6rd@cache:6380/3");
    assert!(config.identity.sessions.required && config.identity.sessions.close_when_stale);
    for text in [config.show(), config.show_json().to_string(), format!("{config:?}")] {
        assert!(!text.contains("cache:6380") && !text.contains("p@ss"), "{text}");
    }
    let variables = [("TIDEGATE_IDENTITY_SESSIONS_REDIS".to_owned(), "redis://u:hunter2@cache/1".to_owned())];
    let config = Config::layered(None, variables, &Flags::default()).unwrap();
    assert_eq!(redis(&config).url.expose(), "redis://u:hunter2@cache/1");
    assert!(config.show().contains("environment TIDEGATE_IDENTITY_SESSIONS_REDIS"));
}

#[test]
fn what_the_edge_does_for_identity_is_told_to_it() {
    let text = "[identity]\ncookie = \"gate\"\nquery_token = true\n[identity.limits]\nuser_connections = 5\ntenant_subscriptions = 9\n[edge]\nallowed_origins = [\"https://app.example\"]\n";
    let edge = load(text).unwrap().rooms.edge;
    assert_eq!((edge.cookie.as_deref(), edge.query_token), (Some("gate"), true));
    assert_eq!((edge.quotas.user.connections, edge.quotas.tenant.subscriptions), (5, 9));
}

#[test]
fn what_is_likely_a_mistake_is_warned_about() {
    let issuer = |rest: &str| format!("[[identity.issuer]]\nissuer = \"i\"\n{rest}\n");
    let warned = |text: &str| warnings(&load(text).unwrap().identity);
    assert!(warned("[identity]\napi_keys = [\"0123456789abcdef\"]").is_empty());
    let good = issuer(&format!("audience = \"a\"\nalgorithm = \"HS256\"\nsecret = \"{SECRET}\""));
    assert!(warned(&good).is_empty());
    assert_eq!(
        warned("[identity]\napi_keys = [\"short\"]"),
        ["an API key has fewer than 16 bytes, so it could be guessed"]
    );
    let short = issuer("audience = \"a\"\nalgorithm = \"HS256\"\nsecret = \"short\"");
    assert_eq!(warned(&short), ["identity.issuer[0].secret has fewer than 32 bytes, so it could be guessed"]);
    assert!(warned(&good.replace("audience = \"a\"", ""))[0].starts_with("identity.issuer[0] has no audience"));
    let jwks = |url: &str| issuer(&format!("audience = \"a\"\nalgorithm = \"RS256\"\njwks_url = \"{url}\""));
    for local in ["http://127.0.0.1:9/keys", "http://[::1]/keys", "http://localhost/keys", "https://id.example/keys"] {
        assert!(warned(&jwks(local)).is_empty(), "{local}");
    }
    assert!(warned(&jwks("http://id.example/keys"))[0].starts_with("identity.issuer[0].jwks_url is not https"));
    let hook = warned("[identity.hook]\nurl = \"http://app.example/who\"\nsecret = \"s\"");
    assert!(
        hook[0].starts_with("identity.hook.secret has fewer") && hook[1].starts_with("identity.hook.url is not https")
    );
}
