//! Repairs frames of the server: properties that the client library cannot parse are replaced with a mark.
//!
//! AMQP text is UTF-8, but the server passes on any bytes of a sender. The library closes its connection on such a
//! message, the server delivers it again, and it would block all others for ever. With the mark the message arrives
//! with its body, and its consumer treats it as dead.
//!
//! A message without room in its subscription's budget is held back, together with everything after it.

use std::ops::Range;

use bytes::{Buf as _, BytesMut};
use lapin::protocol::basic::parse_properties;

use super::budget::Gate;

/// The header that replaces unreadable properties.
pub(super) const UNREADABLE: &str = "pp-unreadable-properties";

/// The type, the channel and the length of the payload.
const HEADER_LENGTH: usize = 7;
const CONTENT_HEADER: u8 = 2;
const FRAME_END: u8 = 0xce;
/// The part of a content header before the properties: class, weight and length of the body.
const BEFORE_PROPERTIES: usize = 12;
const BODY_LENGTH: Range<usize> = 4..BEFORE_PROPERTIES;
/// The flags of properties that consist of headers only.
const HEADERS_ONLY: u16 = 1 << 13;
/// The maximum length of a content header. Frames of servers are shorter, and no more than this is buffered.
const LONGEST_CONTENT_HEADER: usize = 1 << 20;

/// The received bytes of a connection, and those ready to be read.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// Starts with a frame, unless `passing` is not 0.
    incoming: BytesMut,
    /// The number of further bytes that pass unchanged.
    passing: usize,
    readable: BytesMut,
    /// The gate that weighs messages, if this connection receives any.
    gate: Option<Gate>,
    /// True if `incoming` starts with the frame of a message without room.
    kept_back: bool,
}

impl Frames {
    /// Frames whose messages need room in a budget.
    pub(super) fn behind(gate: Option<Gate>) -> Self {
        Self {
            gate,
            ..Self::default()
        }
    }

    /// The gate, if a message waits there for room.
    pub(super) fn waiting(&self) -> Option<&Gate> {
        self.gate.as_ref().filter(|_| self.kept_back)
    }

    /// Takes received bytes, split anywhere.
    pub(super) fn take_in(&mut self, bytes: &[u8]) {
        self.incoming.extend_from_slice(bytes);
        self.process();
    }

    /// Processes the received bytes as far as possible.
    pub(super) fn process(&mut self) {
        self.kept_back = false;
        while !self.incoming.is_empty() {
            if self.passing == 0 && !self.begin_frame() {
                return;
            }
            let passed = self.passing.min(self.incoming.len());
            self.readable.extend_from_slice(&self.incoming[..passed]);
            self.incoming.advance(passed);
            self.passing -= passed;
        }
    }

    /// True if no bytes are ready.
    pub(super) fn is_empty(&self) -> bool {
        self.readable.is_empty()
    }

    /// Copies as many ready bytes as fit, and answers their number.
    pub(super) fn hand_out(&mut self, to: &mut [u8]) -> usize {
        let count = to.len().min(self.readable.len());
        self.readable.copy_to_slice(&mut to[..count]);
        count
    }

    /// Handles the frame at the start. It answers `false` if the frame is incomplete or its message has no room.
    fn begin_frame(&mut self) -> bool {
        let Some((header, rest)) = self.incoming.split_at_checked(HEADER_LENGTH) else {
            return false;
        };
        let length = u32::from_be_bytes([header[3], header[4], header[5], header[6]]) as usize;
        let whole = HEADER_LENGTH + length + 1;
        if header[0] != CONTENT_HEADER || !(BEFORE_PROPERTIES..=LONGEST_CONTENT_HEADER).contains(&length) {
            self.passing = whole;
            return true;
        }
        let Some(payload) = rest.get(..length).filter(|_| rest.len() > length) else {
            return false;
        };
        if self.gate.as_ref().is_some_and(|gate| !gate.admit(weight(payload))) {
            self.kept_back = true;
            return false;
        }
        let (before, properties) = payload.split_at(BEFORE_PROPERTIES);
        if can_be_read(properties) {
            self.passing = whole;
        } else {
            let marked = marked([header[1], header[2]], before);
            self.readable.extend_from_slice(&marked);
            self.incoming.advance(whole);
        }
        true
    }
}

/// The size of a message according to its content header: properties and body.
fn weight(content_header: &[u8]) -> usize {
    let body = content_header[BODY_LENGTH].iter();
    let body = body.fold(0_u64, |length, byte| (length << 8) | u64::from(*byte));
    content_header
        .len()
        .saturating_add(usize::try_from(body).unwrap_or(usize::MAX))
}

/// True if the client library can parse the properties.
fn can_be_read(properties: &[u8]) -> bool {
    matches!(parse_properties(properties), Ok((rest, _)) if rest.is_empty())
}

/// A content header frame whose only property is the mark.
fn marked(channel: [u8; 2], before_properties: &[u8]) -> Vec<u8> {
    let mut table = vec![UNREADABLE.len() as u8];
    table.extend(UNREADABLE.as_bytes());
    table.extend(b"t\x01");
    let mut payload = before_properties.to_vec();
    payload.extend(HEADERS_ONLY.to_be_bytes());
    payload.extend((table.len() as u32).to_be_bytes());
    payload.extend(table);
    let mut frame = vec![CONTENT_HEADER, channel[0], channel[1]];
    frame.extend((payload.len() as u32).to_be_bytes());
    frame.extend(payload);
    frame.push(FRAME_END);
    frame
}

#[cfg(test)]
mod tests {
    use lapin::types::AMQPValue;

    use super::super::budget::budget;
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        [&[kind, 0, 1], &length[..], payload, &[FRAME_END]].concat()
    }

    /// A content header with only a message id.
    fn with_message_id(id: &[u8]) -> Vec<u8> {
        let before = [&[0, 60, 0, 0], &2_u64.to_be_bytes()[..]].concat();
        let flags = (1_u16 << 7).to_be_bytes();
        frame(CONTENT_HEADER, &[&before, &flags[..], &[id.len() as u8], id].concat())
    }

    /// Sends bytes through in parts of this length.
    fn through(bytes: &[u8], part: usize) -> Vec<u8> {
        let (mut frames, mut read, mut space) = (Frames::default(), Vec::new(), [0; 5]);
        for part in bytes.chunks(part) {
            frames.take_in(part);
            while !frames.is_empty() {
                let count = frames.hand_out(&mut space);
                read.extend(&space[..count]);
            }
        }
        read
    }

    #[test]
    fn readable_frames_pass_unchanged_for_every_split() {
        let sent = [
            frame(1, b"a method"),
            with_message_id("größer".as_bytes()),
            frame(3, &[0xff; 300]),
            frame(8, b""),
            // These are too short or too long for a content header.
            frame(CONTENT_HEADER, b"short"),
            frame(CONTENT_HEADER, &[0xff; LONGEST_CONTENT_HEADER + 1]),
            frame(1, b"and on"),
        ]
        .concat();
        for part in [1, 2, 7, 8, 100, sent.len()] {
            assert_eq!(through(&sent, part), sent, "in parts of {part}");
        }
    }

    #[test]
    fn a_message_without_room_is_held_back_until_there_is_room() {
        let (deliver, header, body) = (frame(1, b"deliver"), with_message_id(b"one"), frame(3, b"{}"));
        let heartbeat = frame(8, b"");
        let rest = [&header[..], &body].concat();
        let message = [&deliver[..], &rest].concat();
        let weight = header.len() - HEADER_LENGTH - 1 + 2;
        let (gate, scales) = budget(2 * weight - 1);
        let mut frames = Frames::behind(Some(gate));
        let read = |frames: &mut Frames| {
            frames.process();
            let mut space = [0; 1_000];
            let count = frames.hand_out(&mut space);
            space[..count].to_vec()
        };
        frames.take_in(&[&message[..], &heartbeat, &message, &message].concat());
        assert_eq!(read(&mut frames), [&message[..], &heartbeat, &deliver].concat());
        assert!(frames.waiting().is_some());
        assert_eq!(read(&mut frames), [0; 0]);
        scales.release(scales.next_weight());
        assert_eq!(read(&mut frames), [&rest[..], &deliver].concat());
        assert!(frames.waiting().is_some());
        scales.release(scales.next_weight());
        assert_eq!(read(&mut frames), rest);
        assert!(frames.waiting().is_none());
        assert_eq!(scales.next_weight(), weight);
    }

    #[test]
    fn unreadable_properties_are_marked_and_other_frames_pass() {
        let (before, after) = (
            [frame(1, b"deliver"), with_message_id(b"good")].concat(),
            frame(3, b"{}"),
        );
        for bad in [&[0xff, 0xfe][..], &b"half a character \xc3"[..]] {
            let sent = [&before[..], &with_message_id(bad), &after].concat();
            for part in [1, 3, sent.len()] {
                let read = through(&sent, part);
                let frame = read
                    .strip_prefix(&before[..])
                    .unwrap()
                    .strip_suffix(&after[..])
                    .unwrap();
                let (header, properties) = frame.split_at(HEADER_LENGTH + BEFORE_PROPERTIES);
                assert_eq!(header[..3], [CONTENT_HEADER, 0, 1]);
                assert_eq!(
                    header[HEADER_LENGTH..],
                    with_message_id(bad)[HEADER_LENGTH..header.len()]
                );
                let (end, properties) = parse_properties(properties).unwrap();
                assert_eq!(end, [FRAME_END]);
                let headers = properties.headers().as_ref().unwrap().inner();
                assert_eq!(headers.get(UNREADABLE), Some(&AMQPValue::Boolean(true)));
                let length = frame.len() - HEADER_LENGTH - 1;
                assert_eq!(header[3..HEADER_LENGTH], (length as u32).to_be_bytes());
            }
        }
    }
}
