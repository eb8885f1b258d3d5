use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::*;
use crate::{Algorithm, HookSettings, Issuer, Keys, SessionStore};

const NOW_MS: u64 = 1_800_000_000_000;
const SECRET: &str = "a-secret-of-more-than-thirty-two-bytes";

/// Identity over a store of its own, and the permissions of nobody.
struct Site {
    access: Access,
    _directory: TempDir,
}

async fn site(change: impl FnOnce(&mut Settings)) -> Site {
    let directory = TempDir::new().unwrap();
    let mut settings = Settings::default();
    settings.sessions.store = SessionStore::Embedded(directory.path().join("sessions.db"));
    change(&mut settings);
    let identity = Identity::start(&settings, Handle::current(), Arc::new(|| NOW_MS)).await.unwrap();
    Site { access: Access::new(identity, Permissions::new(Vec::new())), _directory: directory }
}

fn with_issuer(settings: &mut Settings) {
    settings.issuers.push(Issuer {
        issuer: "i".into(),
        audience: None,
        algorithm: Algorithm::Hs256,
        keys: Keys::Secret(Secret::new(SECRET)),
    });
}

fn token(session: Option<&str>) -> String {
    let now = NOW_MS / 1_000;
    let mut claims = json!({ "iss": "i", "sub": "mara", "tenant": "acme", "iat": now - 10, "exp": now + 60 });
    if let Some(session) = session {
        claims["sid"] = session.into();
    }
    encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

impl Site {
    async fn shown(&self, credential: Credential<'_>, headers: &HeaderMap) -> Result<Arc<Principal>, Refusal> {
        self.access.authenticate(&Shown { credential, headers }).wait().await
    }

    async fn authenticate(&self, credential: Credential<'_>) -> Result<Arc<Principal>, Refusal> {
        self.shown(credential, &HeaderMap::new()).await
    }

    async fn bearer(&self, token: &str) -> Arc<Principal> {
        self.authenticate(Credential::Bearer(token)).await.unwrap()
    }

    async fn check(&self, principal: &Arc<Principal>, proof: Proof<'_>) -> Result<(), Refusal> {
        self.access.check(principal, proof).wait().await
    }

    fn sessions(&self) -> &Sessions {
        self.access.identity.sessions()
    }
}

#[tokio::test]
async fn no_configuration_lets_anybody_in() {
    let site = site(|_| {}).await;
    for credential in [Credential::None, Credential::Bearer("x"), Credential::Bearer(""), Credential::ApiKey("")] {
        assert_eq!(site.authenticate(credential).await.unwrap_err().status, 401, "{credential:?}");
    }
    assert!(!site.access.is_open());
}

#[tokio::test]
async fn keys_are_those_of_servers_wherever_they_stand() {
    let site = site(|settings| {
        settings.api_keys = vec![Secret::new("first"), Secret::new("second")];
        settings.proof.required = true;
        settings.sessions.required = true;
    })
    .await;
    for credential in [Credential::ApiKey("second"), Credential::Bearer("first")] {
        let server = site.authenticate(credential).await.unwrap();
        assert_eq!((server.kind, &server.tenant), (PrincipalKind::ApiKey, &None));
        site.check(&server, Proof::Shown(None)).await.unwrap();
    }
    for wrong in ["", "firs", "first2", "thirds"] {
        assert!(site.authenticate(Credential::ApiKey(wrong)).await.is_err());
    }
}

#[tokio::test]
async fn strangers_have_a_tenant_and_a_role_of_their_own() {
    let site = site(|settings| {
        settings.anonymous = true;
        settings.guest_token = Some("demo".into());
        settings.sessions.required = true;
    })
    .await;
    for credential in [Credential::None, Credential::Bearer("demo")] {
        let stranger = site.authenticate(credential).await.unwrap();
        let tenant = stranger.tenant.as_ref().map(Tenant::name);
        assert_eq!((stranger.kind, tenant), (PrincipalKind::Anonymous, Some("anonymous")));
        assert_eq!(&*stranger.roles[0], "anonymous");
        site.check(&stranger, Proof::Shown(None)).await.unwrap();
    }
    assert!(site.authenticate(Credential::Bearer("dem")).await.is_err());
    assert!(site.access.is_open());
}

#[tokio::test]
async fn a_token_is_somebody_until_its_session_is_revoked() {
    let site = site(with_issuer).await;
    let mut heard = site.access.revocations().unwrap();
    let mara = site.bearer(&token(Some("s1"))).await;
    assert_eq!((&*mara.user, mara.session.as_deref()), ("mara", Some("s1")));
    site.check(&mara, Proof::Given).await.unwrap();
    site.sessions().revoke(Revocation::Session("s1".into())).await.unwrap();
    assert_eq!(heard.recv().await.unwrap(), Revocation::Session("s1".into()));
    assert_eq!(site.check(&mara, Proof::Given).await.unwrap_err(), Refusal::revoked());
    // Another session of the same user stands, until the user is revoked.
    let other = site.bearer(&token(None)).await;
    site.check(&other, Proof::Given).await.unwrap();
    site.sessions().revoke(Revocation::User { user: "mara".into(), tenant: None }).await.unwrap();
    assert_eq!(site.check(&other, Proof::Given).await.unwrap_err(), Refusal::revoked());
    assert_eq!(site.authenticate(Credential::Bearer("a.b.c")).await.unwrap_err().status, 401);
}

#[tokio::test]
async fn who_has_a_session_proves_that_it_has_the_key_of_it() {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
    let site = site(|settings| {
        with_issuer(settings);
        settings.proof.required = true;
        settings.proof.challenge_ttl = Duration::from_secs(5);
    })
    .await;
    let pair = Ed25519KeyPair::generate().unwrap();
    let mara = site.bearer(&token(Some("s1"))).await;
    let needed = site.check(&mara, Proof::Shown(None)).await.unwrap_err();
    assert_eq!((needed.code, needed.status), ("proof_needed", 401));
    assert!(needed.message.contains("POST /v1/challenge"));

    let challenge = site.access.identity.proofs().challenge().text;
    let signature = pair.sign(format!("tidegate-proof:v1:2:s1:{challenge}").as_bytes());
    let proof = format!("{challenge}.{}", URL_SAFE_NO_PAD.encode(signature));
    // Nobody knows the session's key yet.
    assert_eq!(site.check(&mara, Proof::Shown(Some(&proof))).await.unwrap_err().status, 401);
    site.sessions().put("s1", "mara", &STANDARD.encode(pair.public_key())).await.unwrap();
    site.check(&mara, Proof::Shown(Some(&proof))).await.unwrap();
    assert_eq!(site.check(&mara, Proof::Shown(Some(&proof))).await.unwrap_err().status, 401, "once");
    site.check(&mara, Proof::Given).await.unwrap();
    // Who has no session has no key, and so no proof.
    let refused = site.check(&site.bearer(&token(None)).await, Proof::Shown(None)).await.unwrap_err();
    assert_eq!(refused.code, "proof_needed");
}

#[tokio::test]
async fn the_application_is_asked_about_those_who_show_it_something() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", nobody.local_addr().unwrap()).parse().unwrap();
    drop(nobody);
    let hook = HookSettings {
        url,
        secret: Secret::new("s"),
        headers: vec![http::header::COOKIE],
        timeout: Duration::from_secs(2),
        asked_max: 1,
        cache_max: 1,
    };
    let cookie = HeaderMap::from_iter([(http::header::COOKIE, http::HeaderValue::from_static("a=b"))]);
    for anonymous in [false, true] {
        let site = site(|settings| (settings.hook, settings.anonymous) = (Some(hook.clone()), anonymous)).await;
        // It does not answer: nobody becomes a stranger because of that.
        let refused = site.shown(Credential::None, &cookie).await.unwrap_err();
        assert_eq!((refused.status, refused.retryable), (503, true));
        assert_eq!(site.authenticate(Credential::None).await.is_ok(), anonymous);
        // Who shows a credential is not asked about.
        assert_eq!(site.shown(Credential::Bearer("x"), &cookie).await.unwrap_err().status, 401);
    }
}

#[tokio::test]
async fn topics_are_for_those_whom_a_permission_names() {
    let publish = |site: &Site, who: &Principal, topic: &str| {
        site.access.topic(who, TopicVerb::Publish, topic).map_err(|refusal| refusal.code)
    };
    let mut site = site(|settings| settings.anonymous = true).await;
    let (stranger, server) = (Principal::new(PrincipalKind::Anonymous), Principal::new(PrincipalKind::ApiKey));
    assert_eq!(publish(&site, &stranger, "chat:a"), Ok(()), "without permissions strangers may do everything");

    let rights = crate::Rights::Topics {
        may: vec![TopicVerb::Publish],
        topics: crate::Patterns::new(&["chat:*".to_owned()]).unwrap(),
    };
    let to = crate::Audience { roles: vec!["talker".into()], claims: Vec::new() };
    site.access = Access::new(site.access.identity.clone(), Permissions::new(vec![crate::Grant { to, rights }]));
    let talker = Principal { roles: ["talker".into()].into(), ..Principal::new(PrincipalKind::User) };
    assert_eq!(publish(&site, &talker, "chat:a"), Ok(()));
    assert_eq!(publish(&site, &talker, "news:a"), Err("forbidden"));
    assert_eq!(site.access.topic(&talker, TopicVerb::History, "chat:a").unwrap_err().code, "forbidden");
    assert_eq!(publish(&site, &stranger, "chat:a"), Err("forbidden"));
    assert_eq!(publish(&site, &server, "anything"), Ok(()));
}
