use proptest::prelude::*;

use super::*;
use crate::stamp::testing::Toy;

fn sender() -> SenderPacket {
    SenderPacket {
        seq: 0x0102_0304,
        timestamp: Stamp(0x1112_1314_1516_1718),
        estimate: ErrorEstimate::from_bits(0x8a21),
        ssid: 0x3132,
    }
}

fn reflector() -> ReflectorPacket {
    ReflectorPacket {
        seq: 0x0102_0304,
        timestamp: Stamp(0x1112_1314_1516_1718),
        estimate: ErrorEstimate::from_bits(0x4b22),
        ssid: 0x3132,
        received: Stamp(0x4142_4344_4546_4748),
        sender_seq: 0x5152_5354,
        sender_timestamp: Stamp(0x6162_6364_6566_6768),
        sender_estimate: ErrorEstimate::from_bits(0x8a21),
        sender_ttl: 0x40,
    }
}

/// Bytes from the figures of RFC 8762 (3 to 8) and RFC 8972 (1 to 4): hexadecimal, `_n` for n zeros.
fn bytes(figure: &str) -> Vec<u8> {
    let word = |word: &str| match word.strip_prefix('_') {
        Some(zeros) => vec![0; zeros.parse().unwrap()],
        None => (0..word.len() / 2)
            .map(|i| u8::from_str_radix(&word[2 * i..2 * i + 2], 16).unwrap())
            .collect(),
    };
    figure.split_whitespace().flat_map(word).collect()
}

#[test]
fn senders_layouts_are_the_figures() {
    let (mut plain, mut sealed) = (Vec::new(), Vec::new());
    sender().write(Mode::Unauthenticated, &mut plain);
    assert_eq!(plain, bytes("01020304 1112131415161718 8a21 3132 _28"));
    let key = Toy(7);
    sender().write(Mode::Authenticated(&key), &mut sealed);
    let covered = bytes("01020304 _12 1112131415161718 8a21 3132 _68");
    assert_eq!(sealed, [&covered[..], &key.tag(&covered)].concat());
    assert_eq!((plain.len(), sealed.len()), (44, 112));
}

#[test]
fn reflectors_layouts_are_the_figures() {
    let (mut plain, mut sealed) = (Vec::new(), Vec::new());
    reflector().write(Mode::Unauthenticated, &mut plain);
    assert_eq!(
        plain,
        bytes("01020304 1112131415161718 4b22 3132 4142434445464748 51525354 6162636465666768 8a21 _2 40 _3")
    );
    let key = Toy(7);
    reflector().write(Mode::Authenticated(&key), &mut sealed);
    let covered = bytes(
        "01020304 _12 1112131415161718 4b22 3132 _4 4142434445464748 _8 51525354 _12 \
         6162636465666768 8a21 _6 40 _15",
    );
    assert_eq!(sealed, [&covered[..], &key.tag(&covered)].concat());
    assert_eq!((plain.len(), sealed.len()), (44, 112));
}

#[test]
fn too_short_and_another_key_are_refused() {
    let key = Toy(7);
    for (mode, len) in [(Mode::Unauthenticated, 41), (Mode::Authenticated(&key), 112)] {
        let mut packet = Vec::new();
        sender().write(mode, &mut packet);
        assert_eq!(SenderPacket::parse(mode, &packet), Ok(sender()));
        packet.extend([9; 30]);
        assert_eq!(
            SenderPacket::parse(mode, &packet),
            Ok(sender()),
            "what follows is nothing here"
        );
        let short = SenderPacket::parse(mode, &packet[..len - 1]);
        assert_eq!(short, Err(PacketError::Short(len - 1)));
    }
    let mut packet = Vec::new();
    sender().write(Mode::Authenticated(&key), &mut packet);
    let other = Mode::Authenticated(&Toy(8));
    assert_eq!(SenderPacket::parse(other, &packet), Err(PacketError::WrongKey));
    for at in 0..packet.len() {
        packet[at] ^= 1;
        let read = SenderPacket::parse(Mode::Authenticated(&key), &packet);
        assert_eq!(read, Err(PacketError::WrongKey), "byte {at}");
        packet[at] ^= 1;
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_and_come_back(packet in prop::collection::vec(any::<u8>(), 0..300)) {
        let mode = Mode::Unauthenticated;
        prop_assert_eq!(SenderPacket::parse(mode, &packet).is_ok(), packet.len() >= 41);
        if let Ok(read) = ReflectorPacket::parse(mode, &packet) {
            let mut again = packet.clone();
            read.write(mode, &mut again);
            prop_assert_eq!(again.len(), packet.len().max(44));
            prop_assert_eq!(again.get(44..), Some(packet.get(44..).unwrap_or_default()));
            prop_assert_eq!(ReflectorPacket::parse(mode, &again), Ok(read));
        }
        let sealed = ReflectorPacket::parse(Mode::Authenticated(&Toy(3)), &packet);
        prop_assert!(sealed.is_err(), "nobody guesses a tag");
    }
}
