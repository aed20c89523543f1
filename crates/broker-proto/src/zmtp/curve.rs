//! CURVE: what the commands of its handshake hold, and the boxes that messages travel in.
//!
//! The mechanism is that of CurveZMQ (RFC 26 of the ZeroMQ project): two pairs of keys for each side,
//! one that lasts and one of this connection. Boxes are X25519, XSalsa20 and Poly1305, from the library.
//! Names here are those of the RFC: a client's long-term and transient keys are `C` and `C'`, a
//! server's `S` and `S'`. Spec: zeromq 8.

#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

use std::fmt;

use crypto_box::aead::AeadInPlace;
use crypto_box::{Nonce, SalsaBox, Tag};
use subtle::ConstantTimeEq;

use super::{Clients, Entropy, Error, KeyPair, PublicKey, SocketType, command, frame};

pub(super) const HELLO: &[u8] = b"HELLO";
pub(super) const WELCOME: &[u8] = b"WELCOME";
pub(super) const INITIATE: &[u8] = b"INITIATE";

/// What encryption adds to a part: name, number, tag, flags.
pub(super) const OVERHEAD: usize = 33;
/// Where the flags of an opened part are, behind which it begins.
const FLAGS: usize = 32;
const MESSAGE_HEAD: &[u8] = b"\x07MESSAGE";

const BOX_MORE: u8 = 1;
const BOX_COMMAND: u8 = 2;

const KEY: usize = 32;
const TAG: usize = 16;
const COOKIE: usize = 96;
const VOUCH: usize = 96;
/// Version 1.0 and bytes that make a client's first command larger than its answer.
const HELLO_PADDING: usize = 72;

const FROM_CLIENT: &[u8; 16] = b"CurveZMQMESSAGEC";
const FROM_SERVER: &[u8; 16] = b"CurveZMQMESSAGES";

fn cipher(public: &PublicKey, secret: &crypto_box::SecretKey) -> SalsaBox {
    SalsaBox::new(&public.to_library(), secret)
}

/// A number that consists of a text and a counter.
fn counted(prefix: &[u8; 16], number: u64) -> Nonce {
    let mut nonce = Nonce::default();
    let bytes = prefix.iter().copied().chain(number.to_be_bytes());
    for (to, from) in nonce.iter_mut().zip(bytes) {
        *to = from;
    }
    nonce
}

/// A number that consists of a text and random bytes.
fn random(prefix: &[u8; 8], bytes: &[u8; 16]) -> Nonce {
    let mut nonce = Nonce::default();
    for (to, from) in nonce.iter_mut().zip(prefix.iter().chain(bytes)) {
        *to = *from;
    }
    nonce
}

/// Appends a box of what `plain` appends.
fn seal(cipher: &SalsaBox, nonce: &Nonce, out: &mut Vec<u8>, plain: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0; TAG]);
    plain(out);
    let Some((head, text)) = out
        .get_mut(start..)
        .and_then(|boxed| boxed.split_at_mut_checked(TAG))
    else {
        return;
    };
    let tag = cipher
        .encrypt_in_place_detached(nonce, b"", text)
        .expect("a box without associated data and shorter than 2^38 bytes");
    head.copy_from_slice(&tag);
}

/// Opens a box where it is; the text begins behind its tag.
fn open<'a>(cipher: &SalsaBox, nonce: &Nonce, boxed: &'a mut [u8]) -> Option<&'a mut [u8]> {
    let (tag, text) = boxed.split_at_mut_checked(TAG)?;
    let tag = Tag::clone_from_slice(tag);
    cipher
        .decrypt_in_place_detached(nonce, b"", text, &tag)
        .ok()?;
    Some(text)
}

fn key(bytes: &[u8]) -> Option<(PublicKey, &[u8])> {
    let (key, rest) = bytes.split_first_chunk::<KEY>()?;
    Some((PublicKey::from_bytes(*key), rest))
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u64::from_be_bytes(*number), rest))
}

/// The handshake as a client has it.
pub(super) struct Client {
    server: PublicKey,
    keys: KeyPair,
    /// `c'`.
    transient: crypto_box::SecretKey,
    vouch_nonce: [u8; 16],
    /// Between the transient keys of both sides, once the server's is known.
    cipher: Option<SalsaBox>,
}

impl Client {
    pub(super) fn new(server: PublicKey, keys: KeyPair, entropy: Entropy) -> Self {
        Self {
            server,
            keys,
            transient: crypto_box::SecretKey::from_bytes(entropy.secret),
            vouch_nonce: entropy.nonce,
            cipher: None,
        }
    }

    fn transient_public(&self) -> [u8; KEY] {
        *self.transient.public_key().as_bytes()
    }

    pub(super) const fn has_welcome(&self) -> bool {
        self.cipher.is_some()
    }

    pub(super) fn write_hello(&self, out: &mut Vec<u8>) {
        let mut data = vec![1, 0];
        data.resize(HELLO_PADDING.saturating_add(2), 0);
        data.extend(self.transient_public());
        data.extend(1_u64.to_be_bytes());
        let cipher = cipher(&self.server, &self.transient);
        seal(
            &cipher,
            &counted(b"CurveZMQHELLO---", 1),
            &mut data,
            |text| {
                text.extend([0; 64]);
            },
        );
        command::write(HELLO, &data, out);
    }

    /// Takes the server's transient key and answers with this side's keys.
    pub(super) fn on_welcome(
        &mut self,
        data: &[u8],
        socket_type: SocketType,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        const SIZE: Error = Error::Malformed("a WELCOME of another length");
        let (nonce, boxed) = data.split_first_chunk().ok_or(SIZE)?;
        let mut boxed = boxed.to_vec();
        let welcome = cipher(&self.server, &self.transient);
        let text = open(&welcome, &random(b"WELCOME-", nonce), &mut boxed);
        let text = text.ok_or(Error::ServerKey)?;
        let (server_transient, cookie) = key(text).ok_or(SIZE)?;
        if cookie.len() != COOKIE {
            return Err(SIZE);
        }
        let session = cipher(&server_transient, &self.transient);
        let vouch = cipher(&server_transient, self.keys.secret.as_library());
        let mut data = cookie.to_vec();
        data.extend(2_u64.to_be_bytes());
        seal(
            &session,
            &counted(b"CurveZMQINITIATE", 2),
            &mut data,
            |text| {
                text.extend(self.keys.public.as_bytes());
                text.extend(self.vouch_nonce);
                seal(
                    &vouch,
                    &random(b"VOUCH---", &self.vouch_nonce),
                    text,
                    |text| {
                        text.extend(self.transient_public());
                        text.extend(self.server.as_bytes());
                    },
                );
                text.extend(command::metadata(socket_type));
            },
        );
        command::write(INITIATE, &data, out);
        self.cipher = Some(session);
        Ok(())
    }

    /// Takes what the server says about itself.
    pub(super) fn on_ready(
        &mut self,
        data: &[u8],
        socket_type: SocketType,
    ) -> Result<(SocketType, Channel), Error> {
        let cipher = self.cipher.take();
        let cipher = cipher.ok_or(Error::Malformed("READY before WELCOME"))?;
        let (received, boxed) =
            number(data).ok_or(Error::Malformed("a READY of another length"))?;
        let mut boxed = boxed.to_vec();
        let text = open(&cipher, &counted(b"CurveZMQREADY---", received), &mut boxed);
        let text = text.ok_or(Error::Box("READY does not open"))?;
        let theirs = command::read_metadata(text, socket_type)?;
        let channel = Channel {
            cipher,
            sends: FROM_CLIENT,
            receives: FROM_SERVER,
            // HELLO and INITIATE were the first two.
            sent: 2,
            received,
        };
        Ok((theirs, channel))
    }
}

/// The handshake as a server has it.
pub(super) struct Server {
    keys: KeyPair,
    clients: Clients,
    /// `s'`.
    transient: crypto_box::SecretKey,
    welcome_nonce: [u8; 16],
    /// What the client has to send back. The RFC has the state of the server in it, for servers that
    /// keep none; the state of this one is here, so what matters is that none is like another.
    cookie: [u8; COOKIE],
    /// `C'`, and the number of the client's first command.
    hello: Option<(PublicKey, u64)>,
}

impl Server {
    pub(super) fn new(keys: KeyPair, clients: Clients, entropy: Entropy) -> Self {
        let mut cookie = [0; COOKIE];
        for (to, from) in cookie.iter_mut().zip(entropy.cookie) {
            *to = from;
        }
        Self {
            keys,
            clients,
            transient: crypto_box::SecretKey::from_bytes(entropy.secret),
            welcome_nonce: entropy.nonce,
            cookie,
            hello: None,
        }
    }

    pub(super) const fn has_hello(&self) -> bool {
        self.hello.is_some()
    }

    /// Takes the client's transient key and answers with this side's.
    pub(super) fn on_hello(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        const SIZE: Error = Error::Malformed("a HELLO of another length");
        let (version, rest) = data.split_first_chunk::<2>().ok_or(SIZE)?;
        if *version != [1, 0] {
            return Err(Error::Malformed("a HELLO of another version of CURVE"));
        }
        let rest = rest.get(HELLO_PADDING..).ok_or(SIZE)?;
        let (client, rest) = key(rest).ok_or(SIZE)?;
        let (count, boxed) = number(rest).ok_or(SIZE)?;
        if boxed.len() != TAG.saturating_add(64) {
            return Err(SIZE);
        }
        let mut boxed = boxed.to_vec();
        let hello = cipher(&client, self.keys.secret.as_library());
        // Keys other than ours show here: the client does not know to whom it speaks.
        open(&hello, &counted(b"CurveZMQHELLO---", count), &mut boxed).ok_or(Error::ClientBox)?;
        let mut data = self.welcome_nonce.to_vec();
        seal(
            &hello,
            &random(b"WELCOME-", &self.welcome_nonce),
            &mut data,
            |text| {
                text.extend(self.transient.public_key().as_bytes());
                text.extend(self.cookie);
            },
        );
        command::write(WELCOME, &data, out);
        self.hello = Some((client, count));
        Ok(())
    }

    /// Takes the client's keys; `out` gets the last command, or an error command.
    pub(super) fn on_initiate(
        &mut self,
        data: &[u8],
        socket_type: SocketType,
        out: &mut Vec<u8>,
    ) -> Result<(SocketType, PublicKey, Channel), Error> {
        const SIZE: Error = Error::Malformed("an INITIATE of another length");
        let (transient, before) = self
            .hello
            .ok_or(Error::Malformed("INITIATE before HELLO"))?;
        let (cookie, rest) = data.split_first_chunk::<COOKIE>().ok_or(SIZE)?;
        if !bool::from(cookie[..].ct_eq(&self.cookie)) {
            return Err(Error::Malformed("a cookie that is not ours"));
        }
        let (received, boxed) = number(rest).ok_or(SIZE)?;
        if received <= before {
            return Err(Error::Box("INITIATE has a number that was used"));
        }
        let session = cipher(&transient, &self.transient);
        let mut boxed = boxed.to_vec();
        let text = open(
            &session,
            &counted(b"CurveZMQINITIATE", received),
            &mut boxed,
        );
        let text = text.ok_or(Error::ClientBox)?;
        let (client, rest) = key(text).ok_or(SIZE)?;
        let (vouch, metadata) = rest.split_first_chunk::<VOUCH>().ok_or(SIZE)?;
        let (nonce, vouch) = vouch.split_first_chunk().ok_or(SIZE)?;
        let mut vouch = vouch.to_vec();
        let voucher = cipher(&client, &self.transient);
        let vouched = open(&voucher, &random(b"VOUCH---", nonce), &mut vouch);
        let vouched = vouched.ok_or(Error::ClientBox)?;
        // The client's transient key is its own, and it means this server.
        let expected = [*transient.as_bytes(), *self.keys.public.as_bytes()];
        if !bool::from(vouched.ct_eq(expected.as_flattened())) {
            return Err(Error::ClientBox);
        }
        if !self.clients.admits(&client) {
            // What libzmq answers for its authenticator; clients tell wrong keys by it.
            command::write_error("400", out);
            return Err(Error::UnknownClient(client));
        }
        let theirs = command::read_metadata(metadata, socket_type)?;
        let mut data = 1_u64.to_be_bytes().to_vec();
        seal(
            &session,
            &counted(b"CurveZMQREADY---", 1),
            &mut data,
            |text| {
                text.extend(command::metadata(socket_type));
            },
        );
        command::write(command::READY, &data, out);
        let channel = Channel {
            cipher: session,
            sends: FROM_SERVER,
            receives: FROM_CLIENT,
            sent: 1,
            received,
        };
        Ok((theirs, client, channel))
    }
}

/// The boxes of a connection in use.
pub(super) struct Channel {
    cipher: SalsaBox,
    sends: &'static [u8; 16],
    receives: &'static [u8; 16],
    /// Number of the last box of this side.
    sent: u64,
    /// Number of the last box of the peer; those of later ones are greater.
    received: u64,
}

impl Channel {
    /// Writes a frame with a box in it. `plain` appends what is in the box, `length` bytes.
    pub(super) fn seal(
        &mut self,
        flags: u8,
        length: usize,
        out: &mut Vec<u8>,
        plain: impl FnOnce(&mut Vec<u8>),
    ) {
        self.sent = self.sent.saturating_add(1);
        out.reserve(length.saturating_add(OVERHEAD).saturating_add(9));
        frame::write_head(0, length.saturating_add(OVERHEAD), out);
        out.extend_from_slice(MESSAGE_HEAD);
        out.extend(self.sent.to_be_bytes());
        seal(&self.cipher, &counted(self.sends, self.sent), out, |text| {
            let more = if flags & frame::MORE != 0 {
                BOX_MORE
            } else {
                0
            };
            let is_command = flags & frame::COMMAND != 0;
            text.push(more | if is_command { BOX_COMMAND } else { 0 });
            plain(text);
        });
    }

    /// Opens the box in the body of a frame: its flags, and the range of the body that is its text.
    pub(super) fn open(&mut self, body: &mut [u8]) -> Result<(u8, std::ops::Range<usize>), Error> {
        const ERROR: Error = Error::Malformed("something else than a box of CURVE");
        let length = body.len();
        let (head, rest) = body.split_at_mut_checked(MESSAGE_HEAD.len()).ok_or(ERROR)?;
        if head != MESSAGE_HEAD {
            return Err(ERROR);
        }
        let (count, boxed) = rest.split_first_chunk_mut().ok_or(ERROR)?;
        let count = u64::from_be_bytes(*count);
        if count <= self.received {
            return Err(Error::Box("its number was used before"));
        }
        let text = open(&self.cipher, &counted(self.receives, count), boxed);
        let text = text.ok_or(Error::Box("it does not open"))?;
        let flags = text.first().copied().ok_or(ERROR)?;
        self.received = count;
        let more = if flags & BOX_MORE != 0 {
            frame::MORE
        } else {
            0
        };
        let is_command = flags & BOX_COMMAND != 0;
        let flags = more | if is_command { frame::COMMAND } else { 0 };
        Ok((flags, FLAGS.saturating_add(1)..length))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Server")
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Channel")
    }
}
