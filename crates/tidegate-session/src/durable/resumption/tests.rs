//! A client that keeps the token of the last welcome that arrived, whatever is lost on the way, and a stranger who guesses.

use proptest::prelude::*;

use super::*;

const WINDOW_MS: u64 = 1_000;

fn token(number: u8) -> Hash {
    let mut token = [7; 32];
    // Tokens differ in one byte, and not always in the same.
    token[usize::from(number) % 32] = number;
    token
}

#[derive(Debug, Clone)]
enum Step {
    /// The client comes back. Whether the welcome arrives.
    Resume(bool),
    /// Somebody shows that token.
    Show(u8),
    Heard,
    Left,
    Wait(u64),
    Restart,
}

struct World {
    resumption: Resumption,
    now_ms: u64,
    /// When the connection left, if it did.
    left_ms: Option<u64>,
    /// The last token that was in a welcome.
    newest: u8,
    /// What the client has, and whether it was heard since the last welcome.
    client: u8,
    was_heard: bool,
    /// What opened the last resume.
    shown: Option<u8>,
}

impl World {
    fn new() -> Self {
        let resumption = Resumption::new(token(0), WINDOW_MS);
        Self { resumption, now_ms: 0, left_ms: None, newest: 0, client: 0, was_heard: false, shown: None }
    }

    fn is_good(&self, number: u8) -> bool {
        number == self.newest || (!self.was_heard && self.shown == Some(number))
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Resume(arrives) if self.newest < 250 => {
                assert!(self.resumption.show(&token(self.client)), "a client is never locked out");
                self.newest += 1;
                self.resumption.rotate(token(self.newest), &token(self.client));
                self.resumption.taken();
                self.shown = Some(self.client);
                (self.left_ms, self.was_heard) = (None, false);
                if *arrives {
                    self.client = self.newest;
                }
            }
            Step::Resume(_) => {}
            Step::Show(number) => assert_eq!(self.resumption.show(&token(*number)), self.is_good(*number)),
            // Nobody says anything before the welcome has arrived, nor without a connection.
            Step::Heard if self.client != self.newest || self.left_ms.is_some() => {}
            Step::Heard => {
                let ended = self.shown.is_some() && !self.was_heard;
                assert_eq!(self.resumption.heard(), ended);
                self.was_heard = true;
            }
            Step::Left => {
                self.resumption.left(self.now_ms);
                self.left_ms.get_or_insert(self.now_ms);
            }
            Step::Wait(ms) => self.now_ms += ms,
            Step::Restart => {
                let (token, previous) = self.resumption.tokens();
                self.resumption = Resumption::restored(*token, previous.copied(), WINDOW_MS, self.now_ms);
                self.left_ms = Some(self.now_ms);
            }
        }
    }

    fn check(&self) {
        assert_eq!(self.resumption.ends_at(), self.left_ms.map(|left_ms| left_ms + WINDOW_MS));
        for number in 0..=self.newest + 1 {
            assert_eq!(self.resumption.show(&token(number)), self.is_good(number), "token {number}");
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => any::<bool>().prop_map(Step::Resume),
        2 => any::<u8>().prop_map(Step::Show),
        3 => Just(Step::Heard),
        2 => Just(Step::Left),
        2 => (0..500_u64).prop_map(Step::Wait),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    #[test]
    fn a_client_comes_back_whatever_is_lost_and_an_old_token_opens_nothing(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.take(&step);
            world.check();
        }
    }
}

#[test]
fn a_lost_welcome_is_retried_with_the_token_before_until_the_client_is_heard() {
    let mut resumption = Resumption::new(token(1), u64::MAX);
    assert_eq!((resumption.ends_at(), resumption.heard()), (None, false));
    resumption.rotate(token(2), &token(1));
    resumption.rotate(token(3), &token(1));
    assert!(resumption.show(&token(1)) && !resumption.show(&token(2)) && resumption.show(&token(3)));
    assert!(resumption.heard());
    assert!(!resumption.show(&token(1)) && resumption.show(&token(3)));
    resumption.left(5);
    assert_eq!(resumption.ends_at(), Some(u64::MAX));
}
