//! Messages whose receiver can tell whether they are right.
//!
//! A message begins with its number, eight bytes with the little end first. Of the
//! rest each line of the cache has one byte that follows from its place, so that
//! the receiver touches all of it.

/// From one checked byte to the next.
pub const STEP: usize = 64;

/// Numbers begin here, so that no codec makes a short word of them.
pub const FIRST: u64 = 1 << 56;

/// Ends a conversation.
pub const LAST: u64 = u64::MAX;

/// A message of `len` bytes, eight at the least.
#[must_use]
pub fn message(len: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..len.max(8)).map(expected).collect();
    set_number(&mut bytes, FIRST);
    bytes
}

/// Gives the message its number.
pub fn set_number(bytes: &mut [u8], number: u64) {
    bytes[..8].copy_from_slice(&number.to_le_bytes());
}

/// The number of a message that is whole.
///
/// # Panics
/// The message is not what was sent.
#[must_use]
pub fn check(bytes: &[u8]) -> u64 {
    let mut wrong = 0;
    for (line, byte) in bytes.iter().skip(STEP).step_by(STEP).enumerate() {
        wrong |= *byte ^ expected((line + 1) * STEP);
    }
    assert_eq!(wrong, 0, "a message came torn");
    u64::from_le_bytes(bytes[..8].try_into().expect("a message has a number"))
}

fn expected(place: usize) -> u8 {
    (place / STEP) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_keeps_its_number() {
        let mut bytes = message(1000);
        set_number(&mut bytes, 7);
        assert_eq!(check(&bytes), 7);
    }

    #[test]
    #[should_panic(expected = "torn")]
    fn a_torn_message_is_seen() {
        let mut bytes = message(1000);
        bytes[640] ^= 1;
        let _ = check(&bytes);
    }
}
