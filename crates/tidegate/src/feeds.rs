//! Where rows come from, as it runs: one of two feeds behind one face.

use std::sync::Arc;

use tidegate_edge::{ApiError, Finding, Places, PositionsOnly};
use tidegate_feed::LocalFeed;
use tidegate_feed::postgres::{BARRIER_BYTES_MAX, Lsn, Place, PostgresFeed};
use tidegate_model::Position;

/// What stands before the token of a barrier.
const BARRIER: &str = "barrier:";

/// A feed of either kind. Cheap to clone; when the last clone is dropped, what it was doing is finished first.
#[derive(Clone)]
pub(crate) enum Feed {
    /// Written through the API.
    Local(LocalFeed),
    /// Follows a database.
    Postgres(PostgresFeed),
}

impl Feed {
    /// Why clients should not be sent here, in words that tell a stranger nothing; the log has the others.
    pub(crate) fn trouble(&self) -> Option<&'static str> {
        match self {
            Self::Local(feed) => feed.health().is_err().then_some("the store cannot be written"),
            Self::Postgres(feed) => feed.health().is_err().then_some("the source is not followed closely"),
        }
    }

    /// Waits until the entities are no longer what the source has; why. With a local feed they always are.
    pub(crate) async fn changed(&self) -> String {
        match self {
            Self::Local(_) => std::future::pending().await,
            Self::Postgres(feed) => {
                let mut changed = feed.schema_changed();
                let reason = changed.wait_for(Option::is_some).await.map(|reason| reason.clone().unwrap_or_default());
                match reason {
                    Ok(reason) => reason,
                    Err(_) => std::future::pending().await,
                }
            }
        }
    }

    /// How the source names positions.
    pub(crate) fn places(&self) -> Arc<dyn Places> {
        match self {
            Self::Local(_) => Arc::new(PositionsOnly),
            Self::Postgres(feed) => Arc::new(LogPositions(feed.clone())),
        }
    }
}

/// PostgreSQL's names for what was written to it: places in its log, and barriers.
struct LogPositions(PostgresFeed);

impl Places for LogPositions {
    fn find(&self, place: &str) -> Result<Finding, ApiError> {
        let reached = self.0.reached(parse(place)?);
        Ok(Box::pin(async move {
            reached.await.map_err(|error| {
                tracing::debug!(%error, "a place in the log was not reached");
                let message = "the source is not followed at the moment; ask again";
                ApiError::new(axum::http::StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
            })
        }))
    }

    fn name(&self, position: Position) -> Option<(&'static str, String)> {
        let (reached, at) = self.0.at();
        // Behind that, a position's own number is the end of its transaction, unless the server's log was put back since.
        let lsn = if position >= at { reached } else { reached.min(Lsn(position.0)) };
        Some(("lsn", lsn.to_string()))
    }
}

fn parse(place: &str) -> Result<Place, ApiError> {
    match place.strip_prefix(BARRIER) {
        Some(token) if (1..=BARRIER_BYTES_MAX).contains(&token.len()) => Ok(Place::Barrier(token.to_owned())),
        Some(_) => Err(ApiError::malformed(format!("the token of a barrier has 1 to {BARRIER_BYTES_MAX} bytes"))),
        None => place.parse().map(Place::Lsn).map_err(|_| {
            let rule = "must be a position in decimal, a place in the log such as 16/B374D848, or barrier:<token>";
            ApiError::malformed(rule)
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_log_positions_and_barriers() {
        assert_eq!(parse("16/B374D848").unwrap(), Place::Lsn(Lsn(0x16_B374_D848)));
        assert_eq!(parse("barrier:a b/1").unwrap(), Place::Barrier("a b/1".into()));
        let longest = "x".repeat(BARRIER_BYTES_MAX);
        assert_eq!(parse(&format!("barrier:{longest}")).unwrap(), Place::Barrier(longest.clone()));
        for wrong in ["barrier:".to_owned(), format!("barrier:{longest}x")] {
            assert!(parse(&wrong).unwrap_err().message.contains("1 to 128 bytes"));
        }
        for wrong in ["", "x", "-1", "1/", "0x10", "Barrier:a", "0/123456789"] {
            let refused = parse(wrong).unwrap_err();
            assert_eq!((refused.status.as_u16(), refused.code), (400, "malformed"), "{wrong}");
            assert!(refused.message.contains("16/B374D848"), "{wrong}");
        }
    }
}
