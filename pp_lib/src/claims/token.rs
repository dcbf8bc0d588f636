//! The token of a run: what its holder proves the run with. It is made of what the store needs to find and guard the row,
//! and of the random number of the claim, so that nobody can guess it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::domain::{KindName, MessageId, Run, WorkCode, WorkId};
#[cfg(feature = "push")]
use crate::kinds::Context;
#[cfg(feature = "push")]
use crate::store::ClaimKey;
use crate::store::{ClaimedRun, HeldRun};

const VERSION: u8 = 1;

/// The token of a run. Its text is opaque to those who hold it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RunToken {
    pub(crate) held: HeldRun,
    pub(crate) message_id: MessageId,
    pub(crate) work_code: WorkCode,
    /// The lease that the worker asked for.
    pub(crate) lease: Duration,
    /// Unix second of the claim, on the store's clock.
    pub(crate) began_on: i64,
}

/// A text that is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a token of a run; send the `run` that a claim answered")]
pub struct RunTokenError;

impl RunToken {
    /// The longest text of a token, in bytes.
    pub const MAX_LENGTH: usize = 600;

    /// The token of a claimed run.
    pub fn of(run: &ClaimedRun, lease: Duration) -> Self {
        Self {
            held: run.key().held(&run.kind, run.run),
            message_id: run.message_id.clone(),
            work_code: run.work_code.clone(),
            lease,
            began_on: run.began_on,
        }
    }

    #[cfg(feature = "push")]
    /// The token of the run that a handler is called for, under this lease. `None` if the run came through a queue.
    pub(crate) fn of_context(context: &Context, lease: Duration) -> Option<Self> {
        let claim = context.claim()?;
        Some(Self {
            held: claim.held(context.kind(), context.run()),
            message_id: context.message_id().clone(),
            work_code: context.work_code().clone(),
            lease,
            began_on: claim.began_on,
        })
    }

    #[cfg(feature = "push")]
    pub(crate) fn claim_key(&self) -> ClaimKey {
        ClaimKey {
            id: self.held.id,
            claim: self.held.claim,
            began_on: self.began_on,
        }
    }

    /// The kind of the work.
    pub fn kind(&self) -> &KindName {
        &self.held.kind
    }

    fn bytes(&self) -> Vec<u8> {
        let HeldRun { id, kind, run, claim } = &self.held;
        let mut bytes = vec![VERSION];
        bytes.extend(id.0.to_be_bytes());
        bytes.extend(run.generation.to_be_bytes());
        bytes.extend(run.attempt.to_be_bytes());
        bytes.extend(claim.to_be_bytes());
        bytes.extend(u32::try_from(self.lease.as_millis()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend(self.began_on.to_be_bytes());
        for text in [kind.as_str(), self.work_code.as_str(), self.message_id.as_str()] {
            bytes.push(u8::try_from(text.len()).unwrap_or_default());
            bytes.extend(text.as_bytes());
        }
        bytes
    }

    fn of_bytes(mut bytes: &[u8]) -> Option<Self> {
        let [VERSION] = take(&mut bytes)? else { return None };
        let id = WorkId(i64::from_be_bytes(take(&mut bytes)?));
        let run = Run {
            generation: i32::from_be_bytes(take(&mut bytes)?),
            attempt: i32::from_be_bytes(take(&mut bytes)?),
        };
        let claim = i64::from_be_bytes(take(&mut bytes)?);
        let lease = Duration::from_millis(u32::from_be_bytes(take(&mut bytes)?).into());
        let began_on = i64::from_be_bytes(take(&mut bytes)?);
        let kind = take_text(&mut bytes)?.parse().ok()?;
        let work_code = take_text(&mut bytes)?.parse().ok()?;
        let message_id = take_text(&mut bytes)?.to_owned().try_into().ok()?;
        bytes.is_empty().then_some(Self {
            held: HeldRun { id, kind, run, claim },
            message_id,
            work_code,
            lease,
            began_on,
        })
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

fn take_text<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
    let [length] = take(bytes)?;
    let (text, rest) = bytes.split_at_checked(length.into())?;
    *bytes = rest;
    str::from_utf8(text).ok()
}

impl fmt::Display for RunToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.bytes()))
    }
}

/// The token is a secret of its holder.
impl fmt::Debug for RunToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RunToken(work {})", self.held.id)
    }
}

impl FromStr for RunToken {
    type Err = RunTokenError;

    fn from_str(text: &str) -> Result<Self, RunTokenError> {
        if text.len() > Self::MAX_LENGTH {
            return Err(RunTokenError);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| RunTokenError)?;
        Self::of_bytes(&bytes).ok_or(RunTokenError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Origin;
    use crate::runtime::new_work_code;

    fn token(kind: &str, message_id: &str) -> RunToken {
        RunToken {
            held: HeldRun {
                id: WorkId(7),
                kind: kind.parse().unwrap(),
                run: Run {
                    generation: 2,
                    attempt: 3,
                },
                claim: -12_345,
            },
            message_id: message_id.to_owned().try_into().unwrap(),
            work_code: new_work_code(Origin::Consumer),
            lease: Duration::from_millis(1_500),
            began_on: 1_795_000_000,
        }
    }

    #[test]
    fn a_token_is_text_and_back() {
        let longest = (&"k".repeat(KindName::MAX_LENGTH), &"é".repeat(127));
        for token in [token("resize", "m"), token(longest.0, longest.1)] {
            let text = token.to_string();
            assert!(text.len() <= RunToken::MAX_LENGTH, "{}", text.len());
            assert!(
                text.bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            );
            assert_eq!(text.parse(), Ok(token));
        }
    }

    #[test]
    fn other_texts_are_no_tokens() {
        let text = token("resize", "m").to_string();
        let (start, other) = (&text[..text.len() / 2], text.replace('A', "!"));
        for bad in ["", "token", start, &other, &"A".repeat(RunToken::MAX_LENGTH + 1)] {
            assert_eq!(bad.parse::<RunToken>(), Err(RunTokenError), "{bad}");
        }
    }

    #[test]
    fn a_token_is_in_no_log() {
        let token = token("resize", "m");
        assert_eq!(format!("{token:?}"), "RunToken(work 7)");
    }
}
