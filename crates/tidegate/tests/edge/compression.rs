//! `permessage-deflate` where it is switched on: a message that inflates past the limit is refused before it has.

use tidegate_testkit::clients::raw::{RawSocket, TEXT, frame, upgrade};

use crate::deflated::zeros;
use crate::fixture::Site;

const OFFER: &str = "sec-websocket-extensions: permessage-deflate; client_no_context_takeover; \
                     server_no_context_takeover\r\n";
const GROWTH_KIB_MAX: u64 = 16 * 1024;

async fn offering(site: &Site) -> (RawSocket, String) {
    let mut raw = RawSocket { stream: site.endpoint().connect("http/1.1").await.unwrap() };
    raw.bytes(upgrade("/v1/live/ws", OFFER).as_bytes()).await;
    let head = raw.shaken().await.to_ascii_lowercase();
    (raw, head)
}

/// A text frame whose payload is compressed.
fn compressed(payload: &[u8]) -> Vec<u8> {
    let mut frame = frame(true, TEXT, payload);
    frame[0] |= 0x40;
    frame
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bomb_is_refused_before_it_goes_off() {
    let site = Site::plain("[edge]\ncompression = true\nmessages_per_second = 1000000\n");
    let attack = async {
        let (mut raw, head) = offering(&site).await;
        assert!(head.contains("sec-websocket-extensions: permessage-deflate"), "{head}");
        // Just past the limit of 64 KiB.
        raw.bytes(&compressed(&zeros(255))).await;
        assert_eq!(raw.close_code().await, Some(1009));
        let before = site.gateway.resident_kib();
        for _ in 0..20 {
            // 10 MB in 64 KiB.
            let (mut raw, _) = offering(&site).await;
            raw.bytes(&compressed(&zeros(40_000))).await;
            assert_eq!(raw.close_code().await, Some(1009));
        }
        if let (Some(before), Some(after)) = (before, site.gateway.resident_kib()) {
            assert!(after < before + GROWTH_KIB_MAX, "{before} KiB grew to {after} KiB");
        }
        // No stream at all is a broken message: 1002 or 1007, never a crash.
        let (mut raw, _) = offering(&site).await;
        raw.bytes(&compressed(&[0xFF; 100])).await;
        assert!(matches!(raw.close_code().await, Some(1002 | 1007)));
    };
    site.unharmed(attack).await;
    assert!(site.metrics().await.closed(&["too_big"]) >= 21);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_agreed_on_is_a_broken_frame() {
    let site = Site::plain("");
    let (mut raw, head) = offering(&site).await;
    assert!(!head.contains("sec-websocket-extensions"), "compression is off by default: {head}");
    raw.bytes(&compressed(&zeros(1))).await;
    assert_eq!(raw.close_code().await, Some(1002));
}
