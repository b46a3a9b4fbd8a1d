//! Seals secrets with AES-256-GCM. The key comes from a setting or from a file, never from the store.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use waystation_core::error::{Code, Error};

use super::Secret;

const KEY_BYTES: usize = 32;
/// The first byte of everything sealed: which cipher and layout follow.
const VERSION: u8 = 1;
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const ALPHABETS: [GeneralPurpose; 2] = [
    GeneralPurpose::new(&base64::alphabet::STANDARD, LENIENT),
    GeneralPurpose::new(&base64::alphabet::URL_SAFE, LENIENT),
];

/// Seals and opens values. A nonce is drawn at random for each sealing, which is safe for far more
/// sealings (2^32) than an installation's secrets will ever see.
pub struct Sealer {
    key: LessSafeKey,
    random: SystemRandom,
}

impl Sealer {
    /// The key as a setting holds it: 32 bytes in base64 or hexadecimal.
    pub fn from_key_text(text: &str) -> Result<Sealer, Error> {
        let key = decode_key(text.trim()).ok_or_else(|| {
            Error::new(
                Code::SettingInvalid,
                "the secret key is not 32 bytes in base64 or hexadecimal",
            )
            .with_hint("make one with `openssl rand -base64 32`")
        })?;
        Sealer::from_key(&key)
    }

    /// The key in a file, which is created with a random key where there is none.
    pub fn from_file(path: &Path) -> Result<Sealer, Error> {
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => create_key_file(path)?,
            _ => {}
        }
        let text = read_key_file(path)?;
        Sealer::from_key_text(&text).map_err(|_| {
            Error::new(
                Code::SettingInvalid,
                format!("the key file {} holds no key", path.display()),
            )
            .with_hint("put back the file from a backup; without its key no secret can be read")
        })
    }

    fn from_key(key: &[u8; KEY_BYTES]) -> Result<Sealer, Error> {
        let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| no_crypto())?;
        Ok(Sealer { key: LessSafeKey::new(key), random: SystemRandom::new() })
    }

    /// Encrypts a value. It opens again only under the same name, so that whoever can write to the
    /// store cannot pass one secret off as another.
    pub fn seal(&self, name: &str, plain: &str) -> Result<Vec<u8>, Error> {
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(|_| no_crypto())?;
        let mut body = plain.as_bytes().to_vec();
        self.key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(name.as_bytes()),
                &mut body,
            )
            .map_err(|_| no_crypto())?;
        Ok([&[VERSION][..], &nonce, &body].concat())
    }

    /// Decrypts what [`Sealer::seal`] made under the same name and key.
    pub fn open(&self, name: &str, sealed: &[u8]) -> Result<Secret, Error> {
        self.decrypt(name, sealed).map(Secret::new).ok_or_else(|| {
            let message = format!("the secret {name} cannot be read with the present key");
            Error::new(Code::SecretUnreadable, message)
        })
    }

    fn decrypt(&self, name: &str, sealed: &[u8]) -> Option<String> {
        let (&version, rest) = sealed.split_first()?;
        let (&nonce, body) = rest.split_first_chunk::<NONCE_LEN>()?;
        if version != VERSION {
            return None;
        }
        let mut body = body.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        let length =
            self.key.open_in_place(nonce, Aad::from(name.as_bytes()), &mut body).ok()?.len();
        body.truncate(length);
        String::from_utf8(body).ok()
    }
}

fn no_crypto() -> Error {
    Error::new(Code::Internal, "the system's source of randomness or cipher failed")
}

fn decode_key(text: &str) -> Option<[u8; KEY_BYTES]> {
    if text.len() == 2 * KEY_BYTES {
        return decode_hex(text);
    }
    let bytes = ALPHABETS.iter().find_map(|alphabet| alphabet.decode(text).ok())?;
    bytes.try_into().ok()
}

fn decode_hex(text: &str) -> Option<[u8; KEY_BYTES]> {
    let mut key = [0; KEY_BYTES];
    for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digit = |letter: u8| (letter as char).to_digit(16);
        *byte = u8::try_from(digit(digits[0])? << 4 | digit(digits[1])?).ok()?;
    }
    Some(key)
}

/// Writes a random key where nothing is yet. The key is on disk before anything is sealed with it.
fn create_key_file(path: &Path) -> Result<(), Error> {
    let mut key = [0; KEY_BYTES];
    SystemRandom::new().fill(&mut key).map_err(|_| no_crypto())?;
    let failed = |error| file_error("cannot create", path, &error);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = match options.open(path) {
        // Another process was faster: its key is the one.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
        opened => opened.map_err(failed)?,
    };
    let text = format!("{}\n", STANDARD.encode(key));
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    sync_parent(path).map_err(failed)
}

/// A new file survives a power failure only once its directory does.
#[cfg(unix)]
fn sync_parent(path: &Path) -> std::io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(not(unix))]
fn sync_parent(_: &Path) -> std::io::Result<()> {
    Ok(())
}

fn read_key_file(path: &Path) -> Result<String, Error> {
    let failed = |error| file_error("cannot read", path, &error);
    let file = File::open(path).map_err(failed)?;
    refuse_if_shared(&file, path)?;
    std::io::read_to_string(std::io::Read::take(file, 1024)).map_err(failed)
}

/// A key that other users of the machine can read protects nothing.
#[cfg(unix)]
fn refuse_if_shared(file: &File, path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    let metadata = file.metadata().map_err(|error| file_error("cannot read", path, &error))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let message = format!("the key file {} is open to other users (mode {mode:o})", path.display());
    Err(Error::new(Code::SettingInvalid, message)
        .with_hint(format!("run `chmod 600 {}`", path.display())))
}

#[cfg(not(unix))]
fn refuse_if_shared(_: &File, _: &Path) -> Result<(), Error> {
    Ok(())
}

fn file_error(what: &str, path: &Path, error: &std::io::Error) -> Error {
    let message = format!("{what} the key file {}: {error}", path.display());
    Error::new(Code::SettingInvalid, message)
        .with_hint("check the path and its permissions, or give the key in WAYSTATION_SECRET_KEY")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1F";

    fn sealer() -> Sealer {
        Sealer::from_key_text(HEX).unwrap()
    }

    #[test]
    fn the_same_key_in_every_spelling() {
        let sealed = sealer().seal("a", "value").unwrap();
        let base64 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        for text in [
            HEX,
            base64,
            base64.trim_end_matches('='),
            " AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        ] {
            let opened = Sealer::from_key_text(text).unwrap().open("a", &sealed).unwrap();
            assert_eq!(opened.expose(), "value", "{text}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_repeated() {
        for text in ["", "password", &HEX[2..], &HEX.replace('0', "g"), &"A".repeat(44), "AAEC"] {
            let error = Sealer::from_key_text(text).err().unwrap();
            assert_eq!(error.code, Code::SettingInvalid, "{text}");
            assert!(text.is_empty() || !error.message.contains(text));
        }
    }

    #[test]
    fn another_name_key_or_version_does_not_open() {
        let sealed = sealer().seal("a", "value").unwrap();
        let other_key = Sealer::from_key_text(&HEX.replace('0', "1")).unwrap();
        let mut other_version = sealed.clone();
        other_version[0] = 2;
        for result in [
            sealer().open("b", &sealed),
            other_key.open("a", &sealed),
            sealer().open("a", &other_version),
            sealer().open("a", &[]),
            sealer().open("a", &sealed[..12]),
        ] {
            assert_eq!(result.unwrap_err().code, Code::SecretUnreadable);
        }
    }

    #[test]
    fn two_sealings_differ() {
        assert_ne!(sealer().seal("a", "value").unwrap(), sealer().seal("a", "value").unwrap());
    }

    #[test]
    fn a_key_file_is_made_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let sealed = Sealer::from_file(&path).unwrap().seal("a", "value").unwrap();
        assert_eq!(Sealer::from_file(&path).unwrap().open("a", &sealed).unwrap().expose(), "value");
    }

    #[cfg(unix)]
    #[test]
    fn a_key_file_is_private_or_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        Sealer::from_file(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = Sealer::from_file(&path).err().unwrap();
        assert!(error.message.ends_with("is open to other users (mode 640)"), "{error}");
        assert!(error.hint().unwrap().starts_with("run `chmod 600 /"));
    }

    #[test]
    fn a_damaged_or_unreachable_key_file_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        Sealer::from_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        assert!(Sealer::from_file(&path).err().unwrap().message.ends_with("holds no key"));
        assert_eq!(fs::read(&path).unwrap(), b"");
        let error = Sealer::from_file(&folder.path().join("absent/key")).err().unwrap();
        assert!(error.message.starts_with("cannot create the key file"), "{error}");
    }

    proptest! {
        #[test]
        fn any_value_comes_back_and_any_changed_byte_is_noticed(
            name in "[a-z]{1,9}", value in "\\PC{0,99}", at in any::<prop::sample::Index>(), bit in 0..8u8,
        ) {
            let mut sealed = sealer().seal(&name, &value).unwrap();
            let opened = sealer().open(&name, &sealed).unwrap();
            prop_assert_eq!(opened.expose(), &value);
            let at = at.index(sealed.len());
            sealed[at] ^= 1 << bit;
            prop_assert!(sealer().open(&name, &sealed).is_err());
        }
    }
}
