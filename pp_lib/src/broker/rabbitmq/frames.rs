//! The bytes that a server sends, made readable: properties that the client library cannot parse are replaced by a mark.
//!
//! AMQP has text in UTF-8, but the server passes on what a sender wrote. The library gives up its connection over such a
//! message, the server delivers it again, and it would be in the way of all others for ever. With the mark it arrives
//! with its body, and whoever consumes it sees that it is dead.
//!
//! A message that has no room in the budget of its subscription is kept back, and with it all that comes behind it.

use std::ops::Range;

use bytes::{Buf as _, BytesMut};
use lapin::protocol::basic::parse_properties;

use super::budget::Gate;

/// The header that stands for properties that cannot be read.
pub(super) const UNREADABLE: &str = "pp-unreadable-properties";

/// Type, channel and the length of the payload.
const HEADER_LENGTH: usize = 7;
const CONTENT_HEADER: u8 = 2;
const FRAME_END: u8 = 0xce;
/// In a content header: class, weight and the length of the body, before the properties.
const BEFORE_PROPERTIES: usize = 12;
const BODY_LENGTH: Range<usize> = 4..BEFORE_PROPERTIES;
/// Properties that are headers alone.
const HEADERS_ONLY: u16 = 1 << 13;
/// No server sends a content header of this length, as frames are shorter; and no more than this is kept waiting.
const LONGEST_CONTENT_HEADER: usize = 1 << 20;

/// What came in of a connection and what is ready to be read of it.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// Begins with a frame, unless bytes are passing.
    incoming: BytesMut,
    /// How many bytes to come belong to frames that are passed on as they are.
    passing: usize,
    readable: BytesMut,
    /// Where messages are weighed, if this connection receives any.
    gate: Option<Gate>,
    /// Whether the frame at the beginning of `incoming` is that of a message without room.
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

    /// Takes the next bytes in, however they are cut.
    pub(super) fn take_in(&mut self, bytes: &[u8]) {
        self.incoming.extend_from_slice(bytes);
        self.go_on();
    }

    /// Makes readable what can be made readable of what came in.
    pub(super) fn go_on(&mut self) {
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

    /// Whether there is nothing to hand out.
    pub(super) fn is_empty(&self) -> bool {
        self.readable.is_empty()
    }

    /// Moves as much as fits; how many bytes that is.
    pub(super) fn hand_out(&mut self, to: &mut [u8]) -> usize {
        let count = to.len().min(self.readable.len());
        self.readable.copy_to_slice(&mut to[..count]);
        count
    }

    /// Decides about the frame that begins here; whether enough of it is there, and room for its message.
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

/// The size of a message by its content header: its properties and its body.
fn weight(content_header: &[u8]) -> usize {
    let body = content_header[BODY_LENGTH].iter();
    let body = body.fold(0_u64, |length, byte| (length << 8) | u64::from(*byte));
    content_header
        .len()
        .saturating_add(usize::try_from(body).unwrap_or(usize::MAX))
}

/// By the judgement of the library itself.
fn can_be_read(properties: &[u8]) -> bool {
    matches!(parse_properties(properties), Ok((rest, _)) if rest.is_empty())
}

/// The frame of a content header with the mark as its only property.
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

    /// A content header with a message id alone.
    fn with_message_id(id: &[u8]) -> Vec<u8> {
        let before = [&[0, 60, 0, 0], &2_u64.to_be_bytes()[..]].concat();
        let flags = (1_u16 << 7).to_be_bytes();
        frame(CONTENT_HEADER, &[&before, &flags[..], &[id.len() as u8], id].concat())
    }

    /// Sends bytes through, in parts of this length.
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
    fn what_can_be_read_passes_as_it_is_however_it_is_cut() {
        let sent = [
            frame(1, b"a method"),
            with_message_id("größer".as_bytes()),
            frame(3, &[0xff; 300]),
            frame(8, b""),
            // Too short or too long for a content header.
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
    fn a_message_without_room_is_kept_back_until_there_is() {
        let (deliver, header, body) = (frame(1, b"deliver"), with_message_id(b"one"), frame(3, b"{}"));
        let heartbeat = frame(8, b"");
        let rest = [&header[..], &body].concat();
        let message = [&deliver[..], &rest].concat();
        let weight = header.len() - HEADER_LENGTH - 1 + 2;
        let (gate, scales) = budget(2 * weight - 1);
        let mut frames = Frames::behind(Some(gate));
        let read = |frames: &mut Frames| {
            frames.go_on();
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
    fn what_cannot_be_read_is_marked_and_its_neighbours_pass() {
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
