use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
use proptest::prelude::*;

use super::*;

struct Scene {
    proofs: Proofs,
    now_ms: Arc<AtomicU64>,
    device: Ed25519KeyPair,
}

impl Scene {
    fn new(answered_max: usize) -> Self {
        let now_ms = Arc::new(AtomicU64::new(1_000_000));
        let settings = ProofSettings { required: true, challenge_ttl: Duration::from_secs(30), answered_max };
        let clock = { now_ms.clone() };
        Self {
            proofs: Proofs::new(&settings, Arc::new(move || clock.load(Ordering::Relaxed))),
            now_ms,
            device: Ed25519KeyPair::generate().unwrap(),
        }
    }

    fn public_key(&self) -> String {
        STANDARD.encode(self.device.public_key().as_ref())
    }

    /// As a client makes it from the documentation alone.
    fn answer(&self, session: &str, challenge: &str) -> String {
        let signed = ["tidegate-proof:v1:", &session.len().to_string(), ":", session, ":", challenge].concat();
        format!("{challenge}.{}", URL_SAFE_NO_PAD.encode(self.device.sign(signed.as_bytes())))
    }

    fn check(&self, proof: &str, session: &str) -> Result<(), String> {
        self.proofs.check(proof, session, &self.public_key()).map_err(|refusal| refusal.message)
    }
}

#[test]
fn a_challenge_is_answered_once() {
    let scene = Scene::new(10);
    let challenge = scene.proofs.challenge();
    assert_eq!(challenge.expires_in_ms, 30_000);
    assert_eq!(challenge.text.len(), 75);
    let proof = scene.answer("s-1", &challenge.text);
    assert_eq!(scene.check(&proof, "s-1"), Ok(()));
    assert_eq!(scene.check(&proof, "s-1"), Err("the challenge was answered before".into()));
    // Neither does another session's proof of the same challenge count.
    let other = scene.answer("s-2", &challenge.text);
    assert_eq!(scene.check(&other, "s-2"), Err("the challenge was answered before".into()));
}

#[test]
fn a_proof_is_for_one_session_one_key_and_a_time() {
    let scene = Scene::new(10);
    let challenge = scene.proofs.challenge().text;
    let proof = scene.answer("s-1", &challenge);
    let wrong = "the proof is not made with the session's key";
    assert_eq!(scene.check(&proof, "s-2"), Err(wrong.into()));
    assert_eq!(scene.check(&proof, ""), Err(wrong.into()));
    let stranger = STANDARD.encode(Ed25519KeyPair::generate().unwrap().public_key().as_ref());
    assert_eq!(scene.proofs.check(&proof, "s-1", &stranger).unwrap_err().message, wrong);

    let elsewhere = Scene::new(10).proofs.challenge().text;
    let foreign = scene.answer("s-1", &elsewhere);
    assert_eq!(scene.check(&foreign, "s-1"), Err("the challenge is not one of this gateway".into()));

    scene.now_ms.fetch_add(29_999, Ordering::Relaxed);
    assert_eq!(scene.check(&proof, "s-1"), Ok(()));
    let late = scene.proofs.challenge().text;
    scene.now_ms.fetch_add(30_000, Ordering::Relaxed);
    assert_eq!(scene.check(&scene.answer("s-1", &late), "s-1"), Err("the challenge is past its time".into()));
    assert_eq!(scene.check(&proof, "s-1"), Err("the challenge is past its time".into()));
}

#[test]
fn a_longer_life_can_not_be_written_into_a_challenge() {
    let scene = Scene::new(10);
    let mut bytes = URL_SAFE_NO_PAD.decode(scene.proofs.challenge().text).unwrap();
    for place in 0..bytes.len() {
        bytes[place] ^= 1;
        let proof = scene.answer("s-1", &URL_SAFE_NO_PAD.encode(&bytes));
        assert_eq!(scene.check(&proof, "s-1"), Err("the challenge is not one of this gateway".into()), "byte {place}");
        bytes[place] ^= 1;
    }
    let proof = scene.answer("s-1", &URL_SAFE_NO_PAD.encode(&bytes));
    assert_eq!(scene.check(&proof, "s-1"), Ok(()));
}

#[test]
fn what_is_remembered_is_bounded_and_forgotten_in_time() {
    let scene = Scene::new(2);
    let give = || {
        let challenge = scene.proofs.challenge().text;
        scene.proofs.check(&scene.answer("s", &challenge), "s", &scene.public_key())
    };
    // What is not valid takes no place.
    for _ in 0..3 {
        let proof = scene.answer("other", &scene.proofs.challenge().text);
        assert_eq!(scene.proofs.check(&proof, "s", &scene.public_key()).unwrap_err().status, 401);
    }
    assert_eq!(give(), Ok(()));
    scene.now_ms.fetch_add(10_000, Ordering::Relaxed);
    assert_eq!(give(), Ok(()));
    let full = give().unwrap_err();
    assert_eq!((full.status, full.retryable), (503, true));
    scene.now_ms.fetch_add(20_000, Ordering::Relaxed);
    assert_eq!(give(), Ok(()));
    assert_eq!(scene.proofs.answered.lock().unwrap().len(), 2);
}

#[test]
fn a_key_may_be_written_in_each_common_way() {
    // A key whose base64 has a character of either alphabet in it.
    let (scene, raw) = loop {
        let scene = Scene::new(100);
        let raw = scene.device.public_key().as_ref().to_vec();
        if STANDARD.encode(&raw).contains(['+', '/']) {
            break (scene, raw);
        }
    };
    let spki = [SPKI_PREFIX.as_slice(), &raw].concat();
    for bytes in [&raw, &spki] {
        for key in [
            STANDARD.encode(bytes),
            STANDARD_NO_PAD.encode(bytes),
            URL_SAFE.encode(bytes),
            URL_SAFE_NO_PAD.encode(bytes),
        ] {
            let proof = scene.answer("s", &scene.proofs.challenge().text);
            assert_eq!(scene.proofs.check(&proof, "s", &key), Ok(()), "{key}");
        }
    }
    let long = "A".repeat(100_000);
    let other_spki = STANDARD.encode([[0; 12].as_slice(), &raw].concat());
    for wrong in ["", "none", "====", &STANDARD.encode(&raw[1..]), &other_spki, &long] {
        let proof = scene.answer("s", &scene.proofs.challenge().text);
        let refusal = scene.proofs.check(&proof, "s", wrong).unwrap_err();
        assert_eq!(refusal.message, "the session has no key that a proof could be checked with");
    }
}

#[test]
fn neither_challenge_nor_proof_is_repeated_in_a_refusal() {
    let scene = Scene::new(2);
    let refusal = scene.proofs.check("hunter2.hunter2", "hunter2", "hunter2").unwrap_err();
    assert!(!format!("{refusal:?}{refusal}{:?}", scene.proofs).contains("hunter2"));
}

proptest! {
    #[test]
    fn nothing_else_is_a_proof(proof in ".{0,200}", session in ".{0,20}", key in ".{0,80}") {
        prop_assert!(Scene::new(1).proofs.check(&proof, &session, &key).is_err());
    }
}
