//! Signatures by the Standard Webhooks specification, version 1: HMAC with SHA-256 over id, timestamp and body.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::general_purpose::{GeneralPurpose, PAD, STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::domain::SigningSecret;

/// Secrets of others may have any last bits.
const LENIENT: GeneralPurpose = GeneralPurpose::new(&ALPHABET, PAD.with_decode_allow_trailing_bits(true));

/// The header `webhook-signature`: one signature for each secret.
pub(super) fn signatures(secrets: &[SigningSecret], id: &str, timestamp: u64, body: &[u8]) -> String {
    let of_secret = |secret: &SigningSecret| {
        let key = LENIENT.decode(secret.key()).unwrap_or_default();
        // HMAC takes keys of any length.
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
    };
    secrets.iter().filter_map(of_secret).collect::<Vec<_>>().join(" ")
}

/// The header `webhook-id`: the idempotency key of a run, with everything escaped that a header or the signed text must
/// not have.
pub(super) fn id(idempotency_key: &str) -> String {
    let mut id = String::with_capacity(idempotency_key.len());
    for byte in idempotency_key.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'/' | b':' | b'@' => id.push(byte.into()),
            // Writing to a string cannot fail.
            byte => drop(write!(id, "%{byte:02X}")),
        }
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> SigningSecret {
        text.to_owned().try_into().unwrap()
    }

    /// The example of the specification.
    #[test]
    fn a_signature_is_that_of_the_specification() {
        let secret = secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let signed = signatures(
            &[secret],
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn two_secrets_make_two_signatures() {
        let both = [
            secret(&format!("whsec_{}", "A".repeat(32))),
            secret(&format!("whsec_{}", "B".repeat(32))),
        ];
        let signed = signatures(&both, "a", 1, b"{}");
        let one = |secret: &SigningSecret| signatures(std::slice::from_ref(secret), "a", 1, b"{}");
        assert_eq!(signed, format!("{} {}", one(&both[0]), one(&both[1])));
        assert_ne!(one(&both[0]), one(&both[1]));
        assert_eq!(signatures(&[], "a", 1, b"{}"), "");
    }

    #[test]
    fn an_id_has_no_full_stop_and_is_ascii() {
        assert_eq!(id("resize/0b-1_c/2"), "resize/0b-1_c/2");
        assert_eq!(id("user.mail/é ü/1"), "user%2Email/%C3%A9%20%C3%BC/1");
    }
}
