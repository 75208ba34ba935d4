//! The chat server on the simulated network: its tests read like transcripts.
//!
//! The service is that of the example, unchanged. Nothing here sleeps, has a port, or can be late:
//! ten minutes of silence take as long as none.

#[path = "../../examples/chat_server/chat.rs"]
mod chat;

use chat::{Chat, FRAMED};
use sockeye::sim::{Faults, Node, Peer, World, seeds};
use sockeye::{Config, Limits, Listen};
use std::time::Duration;

/// What the service is started with.
struct Args {
    idle_warn: Duration,
    idle_drop: Duration,
    stats: Duration,
}

const PORT: &str = "10.0.0.1:7000";
const FRAMED_PORT: &str = "10.0.0.1:7001";

fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

fn args() -> Args {
    Args {
        idle_warn: minutes(10),
        idle_drop: minutes(1),
        stats: minutes(1),
    }
}

fn open() -> (World, Node<Chat, chat::Word>) {
    let mut limits = Limits::default();
    limits.hard_limit = 128 * 1024;
    let mut world = World::new();
    let node = world.start_by("chat", Config::default(), |reactor| {
        for listen in [Listen::new(PORT), Listen::new(FRAMED_PORT).tag(FRAMED)] {
            reactor.listen(listen.limits(limits.clone()).send_buffer(64 * 1024))?;
        }
        Ok(Chat::new(reactor.context(), args()))
    });
    (world, node)
}

/// Joins under a name, with everything read that is said about it.
fn join(world: &mut World, name: &str) -> Peer {
    let peer = world.connect(PORT);
    peer.send(format!("/nick {name}\n"));
    world.settle();
    peer.received();
    peer
}

/// Says a line.
fn say(world: &mut World, peer: &Peer, line: &str) {
    peer.send(format!("{line}\n"));
    world.settle();
}

#[test]
fn who_joins_is_greeted_and_announced() {
    let (mut world, _) = open();
    let ann = world.connect(PORT);
    world.settle();
    assert_eq!(
        ann.received(),
        "* you are guest1, in the lobby; /help says more\n"
    );
    let bob = world.connect(PORT);
    world.settle();
    assert_eq!(
        bob.received(),
        "* you are guest2, in the lobby; /help says more\n"
    );
    assert_eq!(ann.received(), "* guest2 has joined\n");
}

/// A text as framed members say and hear it.
fn frame(text: &str) -> String {
    let length = u32::try_from(text.len()).unwrap().to_be_bytes();
    str::from_utf8(&length).unwrap().to_owned() + text
}

// F2: two framings over one state.
#[test]
fn lines_and_frames_meet_in_one_room() {
    let (mut world, _) = open();
    let (ann, bob) = (join(&mut world, "ann"), world.connect(FRAMED_PORT));
    world.settle();
    let welcome = "* you are guest2, in the lobby; /help says more";
    assert_eq!(bob.received(), frame(welcome));
    assert_eq!(ann.received(), "* guest2 has joined\n");
    // A prefix in pieces; then two frames at once, one with a line end in it.
    bob.send("\0\0");
    world.settle();
    bob.send("\0\x09/nick bob");
    world.settle();
    bob.send(frame("two\nann: lines") + &frame("/who"));
    say(&mut world, &ann, "hello");
    assert_eq!(
        ann.received(),
        "* guest2 is now bob\nbob: two\u{fffd}ann: lines\n"
    );
    let heard = [
        "* guest2 is now bob",
        "* in the lobby: ann, bob",
        "ann: hello",
    ];
    assert_eq!(bob.received(), heard.map(frame).concat());
    // What is for him alone is framed, too.
    say(&mut world, &ann, "/msg bob psst");
    ann.received();
    assert_eq!(bob.received(), frame("ann (to you only): psst"));
    bob.send(frame("/quit"));
    world.settle();
    assert_eq!(bob.received(), frame("* goodbye"));
    assert!(bob.is_closed());
    bob.close();
    world.settle();
    assert_eq!(ann.received(), "* bob has left: closed locally\n");
}

#[test]
fn what_is_no_frame_ends_its_member_and_is_not_told_to_the_others() {
    let (mut world, _) = open();
    let ann = join(&mut world, "ann");
    let mut ends_with = |wrong: &[u8], answer: &str, reason: &str| {
        let bob = world.connect(FRAMED_PORT);
        world.settle();
        bob.received();
        bob.send(wrong);
        bob.shutdown();
        world.settle();
        assert_eq!(bob.received(), answer);
        let heard = ann.received();
        assert!(
            heard.ends_with(&format!("closed because: {reason}\n")),
            "{heard}"
        );
        assert!(!heard.contains("secret"), "{heard}");
    };
    let word = "* a line may have 4096 bytes, and yours has more: goodbye";
    let too_long = b"\0\0\x10\x01/msg ann secret";
    ends_with(too_long, &frame(word), "line too long");
    ends_with(b"\0\0\0\x20/msg ann secret", "", "half a line");
    ends_with(b"\0\0", "", "half a line");
}

#[test]
fn a_name_is_given_once() {
    let (mut world, _) = open();
    let (ann, bob) = (join(&mut world, "ann"), join(&mut world, "bob"));
    ann.received();
    say(&mut world, &bob, "/nick Ann");
    assert_eq!(bob.received(), "* the name Ann is taken\n");
    say(&mut world, &bob, "/nick bert");
    assert_eq!(ann.received(), "* bob is now bert\n");
}

#[test]
fn a_command_with_too_little_or_too_much_is_told_how_it_is_used() {
    let (mut world, _) = open();
    let (ann, bob) = (join(&mut world, "ann"), join(&mut world, "bob"));
    ann.received();
    for (line, answer) in [
        ("/me", "write /me TEXT: say what you do"),
        ("/msg", "write /msg NAME TEXT: tell only NAME"),
        ("/msg ann ", "write /msg NAME TEXT: tell only NAME"),
        ("/who kitchen", "write /who: who is here"),
        ("/quit now", "write /quit: leave"),
        ("/hel", "what is /hel? Try /help"),
        ("/", "what is /? Try /help"),
    ] {
        say(&mut world, &bob, line);
        assert_eq!(bob.received(), format!("* {answer}\n"), "{line}");
    }
    say(&mut world, &bob, "/help me");
    assert!(bob.received().contains("/me TEXT"));
    assert_eq!(ann.received(), "");
    // Who whispers sees that it went out.
    say(&mut world, &bob, "/msg Ann are you there?");
    assert_eq!(bob.received(), "* to Ann only: are you there?\n");
    assert_eq!(ann.received(), "bob (to you only): are you there?\n");
}

#[test]
fn everybody_hears_the_same_in_the_same_order() {
    let (mut world, _) = open();
    let names = ["ann", "bob", "cleo", "dan"];
    let peers = names.map(|name| join(&mut world, name));
    peers.iter().for_each(|peer| drop(peer.received()));
    // Ann and Bob speak at the same time, in pieces.
    for piece in ["one\ntw", "o\nthree\n"] {
        peers[0].send(piece);
        peers[1].send(piece);
        world.settle();
    }
    let heard = peers[2].received();
    assert_eq!(heard.lines().count(), 6);
    assert_eq!(heard, peers[3].received());
    let of_ann: Vec<_> = heard
        .lines()
        .filter(|line| line.starts_with("ann: "))
        .collect();
    assert_eq!(of_ann, ["ann: one", "ann: two", "ann: three"]);
    assert_eq!(peers[0].received(), "bob: one\nbob: two\nbob: three\n");
}

#[test]
fn who_does_not_read_is_dropped_and_the_others_are_not() {
    let (mut world, _) = open();
    let (ann, bob) = (join(&mut world, "ann"), join(&mut world, "bob"));
    let slow = join(&mut world, "slow");
    slow.ignore();
    ann.received();
    let line = "x".repeat(3000);
    let mut said = 0;
    while !world
        .trace()
        .contains("pending output exceeds `hard_limit`")
    {
        say(&mut world, &ann, &line);
        world.advance(Duration::from_millis(100));
        said += 1;
        assert!(said < 1000, "nobody is dropped");
    }
    let heard = bob.received();
    assert_eq!(heard.matches("ann: xxx").count(), said);
    assert!(heard.contains("* slow has left: pending output exceeds `hard_limit`\n"));
    assert!(slow.was_reset());
    assert!(ann.is_open() && bob.is_open());
}

#[test]
fn who_is_silent_is_warned_and_then_dropped() {
    let (mut world, _) = open();
    let (ann, bob) = (join(&mut world, "ann"), join(&mut world, "bob"));
    ann.received();
    world.advance(minutes(9));
    say(&mut world, &bob, "I am here");
    assert_eq!(ann.received(), "bob: I am here\n");
    world.advance(minutes(1));
    assert_eq!(
        ann.received(),
        "* are you there? Say something within 60s\n"
    );
    assert_eq!(bob.received(), "");
    world.advance(minutes(1));
    assert!(
        ann.received()
            .ends_with("* you have been silent for too long: goodbye\n")
    );
    assert!(ann.is_closed() && bob.is_open());
    // She is gone for good when she has closed, too.
    ann.close();
    world.advance(Duration::from_secs(3));
    assert_eq!(
        bob.received(),
        "* ann has left: closed because: silent for too long\n"
    );
}

// R6, R10: who floods is not read for a moment, in the middle of what was read already.
#[test]
fn a_flood_is_held_back_line_by_line() {
    let (mut world, _) = open();
    let (ann, bob) = (join(&mut world, "ann"), join(&mut world, "bob"));
    ann.received();
    bob.send(format!("{}\n", "x".repeat(1000)).repeat(9));
    world.settle();
    // The fourth line is above the measure: the fifth waits.
    for count in [4, 4, 1] {
        assert_eq!(ann.received().matches("bob: xxx").count(), count);
        world.advance(Duration::from_millis(100));
    }
}

#[test]
fn a_signal_says_goodbye_and_leaves_nothing_behind() {
    let (mut world, node) = open();
    let (ann, bob) = (join(&mut world, "ann"), join(&mut world, "bob"));
    ann.received();
    say(&mut world, &ann, "last words");
    assert!(world.reactor(node).sender().send(chat::Word::Stop).is_ok());
    world.settle();
    assert_eq!(ann.received(), "* the server stops: goodbye\n");
    assert_eq!(
        bob.received(),
        "ann: last words\n* the server stops: goodbye\n"
    );
    assert!(ann.is_closed() && bob.is_closed());
    for peer in [&ann, &bob] {
        assert!(!peer.was_reset());
        peer.close();
    }
    world.settle();
    world.assert_no_leaks();
    let late = world.connect(PORT);
    world.settle();
    assert!(late.was_reset());
}

#[test]
fn who_is_cut_off_hears_later_what_was_said_and_is_dropped_if_it_lasts() {
    let (mut world, node) = open();
    let ann = join(&mut world, "ann");
    let far = [10, 1, 0, 9].into();
    let bob = world.connect_from(far, PORT);
    bob.send("/nick bob\n");
    world.settle();
    bob.received();
    ann.received();
    for round in 0..3 {
        world.cut(node.host(), far);
        say(&mut world, &ann, &format!("round {round}"));
        bob.send(format!("I say {round}\n"));
        world.advance(Duration::from_secs(30));
        assert_eq!(
            (bob.received(), ann.received()),
            (String::new(), String::new())
        );
        world.heal(node.host(), far);
        world.settle();
        assert_eq!(bob.received(), format!("ann: round {round}\n"));
        assert_eq!(ann.received(), format!("bob: I say {round}\n"));
    }
    // Nobody hears of a peer that is gone for good; its silence ends it.
    world.cut(node.host(), far);
    world.advance(minutes(8));
    say(&mut world, &ann, "still here");
    world.advance(minutes(4));
    let heard = ann.received();
    assert!(
        heard.ends_with("* bob has left: closed because: silent for too long\n"),
        "{heard}"
    );
    assert!(ann.is_open() && bob.is_open(), "bob does not know yet");
    world.heal(node.host(), far);
    world.settle();
    assert!(bob.is_closed());
    assert!(bob.received().ends_with("goodbye\n"));
}

/// Three workers, each with a speaker and a listener. What all want at once one gets, and what is
/// heard everywhere is the same.
#[test]
fn workers_come_to_the_same_answers_in_one_order() {
    for seed in seeds(0..30) {
        let mut world = World::seeded(seed, Faults::default());
        let (_, team) = world.start_workers(
            "chat",
            (3, Config::default()),
            |mut workers| workers.listen(PORT).map(|_| workers),
            |worker| Chat::of_worker(worker, args()),
        );
        let names = ["ann", "bob", "cid", "dan", "eve", "fay"];
        let users = names.map(|name| join(&mut world, name));
        for user in &users {
            user.received();
        }
        let (speakers, listeners) = users.split_at(3);
        for speaker in speakers {
            speaker.send("1\n2\n/nick best\n3\n");
        }
        world.settle();
        let heard = listeners[0].received();
        for other in &listeners[1..] {
            assert_eq!(other.received(), heard, "seed {seed}");
        }
        let mut refused = 0;
        for (speaker, name) in speakers.iter().zip(names) {
            let is_refused = speaker.received().contains("the name best is taken");
            refused += usize::from(is_refused);
            let name = if is_refused { name } else { "best" };
            let all = heard.lines().filter_map(|line| line.split_once(": "));
            let said: Vec<&str> = all
                .filter(|said| said.0 == name)
                .map(|said| said.1)
                .collect();
            assert!(
                said.is_sorted() && said.ends_with(&["3"]),
                "seed {seed}: {heard}"
            );
        }
        assert_eq!(
            (refused, heard.lines().count()),
            (2, 10),
            "seed {seed}: {heard}"
        );
        team.finish(Duration::from_secs(1));
        world.advance(minutes(1));
        for user in &users {
            assert!(user.received().contains("the server stops: goodbye"));
            user.close();
        }
        world.advance(minutes(1));
        world.assert_no_leaks();
    }
}

/// Two rooms, each with two members at every worker: whoever speaks where, all who listen in a room
/// hear the same, each speaker in the order of its lines, and nothing of the other room.
#[test]
fn rooms_that_span_workers_hear_all_in_one_order() {
    for seed in seeds(0..30) {
        let mut world = World::seeded(seed, Faults::default());
        world.start_workers(
            "chat",
            (3, Config::default()),
            |mut workers| workers.listen(PORT).map(|_| workers),
            |worker| Chat::of_worker(worker, args()),
        );
        let mut rooms = Vec::new();
        for room in ["tea", "rum"] {
            let members: Vec<Peer> = (0..6)
                .map(|number| join(&mut world, &format!("{room}{number}")))
                .collect();
            for member in &members {
                say(&mut world, member, &format!("/join {room}"));
            }
            rooms.push((room, members));
        }
        for (_, members) in &rooms {
            members.iter().for_each(|member| drop(member.received()));
        }
        for line in 1..=3 {
            for member in rooms.iter().flat_map(|(_, members)| &members[..3]) {
                member.send(format!("{line}\n"));
            }
        }
        world.settle();
        for (room, members) in &rooms {
            let heard = members[3].received();
            for other in &members[4..] {
                assert_eq!(other.received(), heard, "seed {seed}");
            }
            for speaker in 0..3 {
                let its = format!("{room}{speaker}: ");
                let said = heard.lines().filter_map(|line| line.strip_prefix(&its));
                let said: Vec<&str> = said.collect();
                assert_eq!(said, ["1", "2", "3"], "seed {seed}: {heard}");
            }
            assert_eq!(heard.lines().count(), 9, "seed {seed}: {heard}");
        }
    }
}
