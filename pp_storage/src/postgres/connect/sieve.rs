//! Takes one word out of a server's first messages: it offers to bind the password to the channel of TLS, of which libpq
//! knows nothing, and libpq would take the offer for an attack.

/// The name of the mechanism that binds.
const BINDING: &[u8] = b"SCRAM-SHA-256-PLUS\0";
const HEADER: usize = 5;
/// The largest message that is looked into.
const LARGEST: usize = 2048;
/// The code of the message that lists mechanisms.
const SASL: [u8; 4] = [0, 0, 0, 10];

/// The first messages of a server.
#[derive(Default)]
pub(super) struct Sieve {
    held: Vec<u8>,
    done: bool,
}

impl Sieve {
    /// Passes bytes on, as far as they are whole messages.
    pub(super) fn pass(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if self.done {
            return out.extend_from_slice(bytes);
        }
        self.held.extend_from_slice(bytes);
        while let Some((kind, length)) = self.header() {
            let authentication = kind == b'R';
            // What comes before: the version of the protocol, and notices.
            self.done = !matches!(kind, b'R' | b'v' | b'N') || length > LARGEST;
            if !self.done && self.held.len() < length {
                return;
            }
            if !self.done {
                let message: Vec<u8> = self.held.drain(..length).collect();
                out.extend(if authentication {
                    without_binding(message)
                } else {
                    message
                });
                self.done = authentication;
            }
            if self.done {
                out.append(&mut self.held);
                return;
            }
        }
    }

    /// The type of the message that comes next, and its length with the type.
    fn header(&self) -> Option<(u8, usize)> {
        let header = self.held.first_chunk::<HEADER>()?;
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
        Some((header[0], (length as usize).saturating_add(1).max(HEADER)))
    }
}

fn without_binding(message: Vec<u8>) -> Vec<u8> {
    let body = &message[HEADER..];
    let Some(mechanisms) = body.strip_prefix(&SASL) else {
        return message;
    };
    let kept: Vec<u8> = mechanisms
        .split_inclusive(|byte| *byte == 0)
        .filter(|mechanism| *mechanism != BINDING)
        .flatten()
        .copied()
        .collect();
    let length = (4 + SASL.len() + kept.len()) as u32;
    [&[b'R'][..], &length.to_be_bytes(), &SASL, &kept].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        [&[kind][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat()
    }

    /// What comes out, in whatever pieces the bytes come in.
    fn passed(bytes: &[u8]) -> Vec<u8> {
        let mut whole = Vec::new();
        Sieve::default().pass(bytes, &mut whole);
        let (mut single, mut sieve) = (Vec::new(), Sieve::default());
        bytes.iter().for_each(|byte| sieve.pass(&[*byte], &mut single));
        assert_eq!(single, whole);
        whole
    }

    #[test]
    fn only_the_offer_to_bind_is_taken_out() {
        let offer = message(b'R', b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0");
        let without = message(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0");
        let notice = message(b'N', b"hello\0");
        let later = message(b'R', b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0\0");
        assert_eq!(
            passed(&[&notice[..], &offer, &later].concat()),
            [&notice[..], &without, &later].concat()
        );
        for other in [
            message(b'R', b"\0\0\0\0"),
            message(b'E', b"SFATAL\0SCRAM-SHA-256-PLUS\0\0"),
            message(b'R', &[0; 5000]),
            [&[b'R'][..], &u32::MAX.to_be_bytes(), b"x"].concat(),
            vec![b'R', 0, 0, 0, 0],
        ] {
            assert_eq!(passed(&other), other);
        }
    }
}
