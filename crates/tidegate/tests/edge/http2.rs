//! HTTP/2: WebSocket by extended CONNECT and Server-Sent Events, by prior knowledge and by ALPN.

use tidegate_testkit::clients::Transport;

use crate::fixture::Site;
use crate::{lists, stalled};

const TRANSPORTS: [Transport; 2] = [Transport::WebSocketH2, Transport::SseH2];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_history_ends_in_the_same_lists() {
    lists::same_history(&Site::plain(lists::SECTIONS), &TRANSPORTS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_history_ends_in_the_same_lists_over_tls() {
    lists::same_history(&Site::tls(lists::SECTIONS), &TRANSPORTS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_stalls_and_the_others_see_everything() {
    stalled::one_stalls_and_the_others_see_everything(false, &TRANSPORTS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_again_in_time_has_the_right_list() {
    stalled::who_reads_again_in_time_has_the_right_list(false, &TRANSPORTS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_again_in_time_has_the_right_list_over_tls() {
    stalled::who_reads_again_in_time_has_the_right_list(true, &TRANSPORTS).await;
}
