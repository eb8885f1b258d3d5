//! Proof of possession: a client signs a challenge with the key of its device session.

use std::net::SocketAddr;
use std::time::SystemTime;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;
use tidegate_testkit::clients::{Endpoint, Transport, request, within};
use tidegate_testkit::gateway::Gateway;

use crate::fixture::{gateway, order, token};
use crate::transports::{NOTES, event_socket, farewell, read, refused, shows};

/// A device with a key and a session that is stored.
pub(crate) struct Device {
    pub(crate) at: SocketAddr,
    pub(crate) session: &'static str,
    pub(crate) pair: Ed25519KeyPair,
    pub(crate) token: String,
}

impl Device {
    async fn enrolled(gateway: &Gateway, session: &'static str) -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        let device = Self { at: gateway.address(), session, pair, token: token("mara", json!({ "sid": session })) };
        let key = STANDARD.encode(device.pair.public_key().as_ref());
        let stored = json!({ "user_id": "mara", "client_public_key": key });
        let _ = order(device.at, "PUT", &format!("/v1/sessions/{session}"), &stored).await.ok();
        device
    }

    async fn challenge(&self) -> String {
        let answer = within("a challenge", request(self.at, "POST", "/v1/challenge", &[], b"")).await.unwrap().ok();
        answer["challenge"].as_str().unwrap().to_owned()
    }

    fn signed_for(&self, session: &str, challenge: &str) -> String {
        let text = format!("tidegate-proof:v1:{}:{session}:{challenge}", session.len());
        format!("{challenge}.{}", URL_SAFE_NO_PAD.encode(self.pair.sign(text.as_bytes())))
    }

    pub(crate) async fn proof(&self) -> String {
        self.signed_for(self.session, &self.challenge().await)
    }

    fn showing(&self) -> Endpoint {
        Endpoint::from(self.at).header("authorization", &format!("Bearer {}", self.token))
    }
}

fn strict() -> Gateway {
    gateway("[identity.proof]\nrequired = true\n")
}

#[tokio::test]
async fn a_good_proof_opens_every_transport_and_the_api() {
    let gateway = strict();
    let device = Device::enrolled(&gateway, "s1").await;
    for transport in Transport::ALL {
        shows(device.showing().header("tidegate-proof", &device.proof().await), transport, 0).await;
        shows(device.showing().query(&format!("proof={}", device.proof().await)), transport, 0).await;
        if transport.is_websocket() {
            let offered = format!("bearer.{}, proof.{}", device.token, device.proof().await);
            shows(Endpoint::from(device.at).header("sec-websocket-protocol", &offered), transport, 0).await;
        }
    }
    for over_h2 in [false, true] {
        let mut socket = event_socket(device.at.into(), over_h2).await.unwrap();
        let shown = json!({ "token": device.token, "proof": device.proof().await });
        assert!(socket.call("auth", shown, "a").await.error.is_null());
        // A fresh token of the same session is proven anew.
        let refused = socket.call("auth.refresh", json!({ "token": device.token }), "r").await;
        assert_eq!(refused.error["code"], "proof_needed", "{refused:?}");
        let shown = json!({ "token": device.token, "proof": device.proof().await });
        assert!(socket.call("auth.refresh", shown, "r2").await.error.is_null());
    }
    let proof = device.proof().await;
    let bearer = format!("Bearer {}", device.token);
    let headers = [("authorization", &*bearer), ("tidegate-proof", &*proof)];
    let answer = within("a page", request(device.at, "GET", NOTES, &headers, b"")).await.unwrap();
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn anything_else_is_refused_everywhere() {
    let gateway = strict();
    let (device, other) = (Device::enrolled(&gateway, "s1").await, Device::enrolled(&gateway, "s2").await);
    let used = device.proof().await;
    shows(device.showing().header("tidegate-proof", &used), Transport::Sse, 0).await;
    let challenge = device.challenge().await;
    let another_gateway = strict();
    let elsewhere = Device::enrolled(&another_gateway, "s1").await.challenge().await;
    let good = device.signed_for("s1", &challenge);
    let wrong = [
        ("", "proof_needed"),
        (&used, "unauthenticated"),
        (&other.signed_for("s1", &challenge), "unauthenticated"),
        (&device.signed_for("s2", &challenge), "unauthenticated"),
        (&device.signed_for("s1", &elsewhere), "unauthenticated"),
        (&challenge, "unauthenticated"),
        (&good[..good.len() - 2], "unauthenticated"),
        ("x.y", "unauthenticated"),
    ];
    for (proof, code) in wrong {
        let endpoint = match proof {
            "" => device.showing(),
            proof => device.showing().header("tidegate-proof", proof),
        };
        for transport in Transport::ALL {
            assert_eq!(refused(endpoint.clone(), transport).await, 401, "{transport:?} {proof}");
        }
        for (status, body) in read(&endpoint).await {
            assert_eq!((status, &body["error"]["code"]), (401, &json!(code)), "{proof} {body}");
        }
        for over_h2 in [false, true] {
            let mut socket = event_socket(device.at.into(), over_h2).await.unwrap();
            let shown = match proof {
                "" => json!({ "token": device.token }),
                proof => json!({ "token": device.token, "proof": proof }),
            };
            assert_eq!(socket.call("auth", shown, "a").await.error["code"], code, "{proof}");
            assert_eq!(farewell(&mut socket).await, Some((1008, "unauthenticated".into())));
        }
    }
    // None of these used up the challenge.
    shows(device.showing().header("tidegate-proof", &good), Transport::Sse, 0).await;
    for (status, _) in read(&device.showing().header("tidegate-proof", &good)).await {
        assert_eq!(status, 401);
    }
}

#[tokio::test]
async fn a_session_that_is_not_known_or_has_another_key_proves_nothing() {
    let gateway = strict();
    let mut device = Device::enrolled(&gateway, "s1").await;
    let key = STANDARD.encode(Ed25519KeyPair::generate().unwrap().public_key().as_ref());
    let replaced = json!({ "user_id": "mara", "client_public_key": key });
    let _ = order(device.at, "PUT", "/v1/sessions/s1", &replaced).await.ok();
    let endpoint = device.showing().header("tidegate-proof", &device.proof().await);
    assert_eq!(refused(endpoint, Transport::Sse).await, 401);
    (device.session, device.token) = ("s3", token("mara", json!({ "sid": "s3" })));
    let endpoint = device.showing().header("tidegate-proof", &device.proof().await);
    assert_eq!(refused(endpoint, Transport::Sse).await, 401);
    // One that is revoked does not come back by proving.
    let device = Device::enrolled(&gateway, "s4").await;
    let _ = order(device.at, "POST", "/v1/sessions/s4/revoke", &json!({})).await.ok();
    for (status, body) in read(&device.showing().header("tidegate-proof", &device.proof().await)).await {
        assert_eq!((status, &body["error"]["code"]), (401, &json!("revoked")), "{body}");
    }
}

#[tokio::test]
async fn a_challenge_is_good_for_its_time_alone() {
    let gateway = gateway("[identity.proof]\nrequired = true\nchallenge_ttl_ms = 1\n");
    let device = Device::enrolled(&gateway, "s1").await;
    let proof = device.proof().await;
    let given = SystemTime::now();
    while given.elapsed().is_ok_and(|elapsed| elapsed.as_millis() < 2) {}
    for transport in Transport::ALL {
        assert_eq!(refused(device.showing().header("tidegate-proof", &proof), transport).await, 401);
    }
    for (_, body) in read(&device.showing().header("tidegate-proof", &proof)).await {
        assert!(body["error"]["message"].as_str().unwrap().contains("past its time"), "{body}");
    }
}
