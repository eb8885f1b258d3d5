//! The body of a request that has to be there as a whole: bounded in bytes, and in time by the pace at which it arrives.

use axum::body::Body;
use axum::http::StatusCode;
use futures_util::StreamExt as _;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use crate::pace::Pace;
use crate::{ApiError, EdgeConfig};

/// All of it, of at most so many bytes.
pub(crate) async fn read(body: Incoming, bytes_max: usize, config: &EdgeConfig) -> Result<Vec<u8>, ApiError> {
    let mut pace = Pace::new(Instant::now(), config.message_timeout, config.min_bytes_per_second);
    let (mut chunks, mut whole) = (Body::new(body).into_data_stream(), Vec::new());
    while let Some(chunk) = timeout_at(pace.deadline(), chunks.next())
        .await
        .map_err(|_| ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the body took too long to arrive"))?
    {
        let chunk = chunk.map_err(|_| ApiError::malformed("the body ended early, or its chunks are malformed"))?;
        if whole.len() + chunk.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
        whole.extend_from_slice(&chunk);
        pace.take(chunk.len(), Instant::now());
    }
    Ok(whole)
}

pub(crate) fn too_large(bytes_max: usize) -> ApiError {
    let message = format!("what is sent here has at most {bytes_max} bytes");
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
}
