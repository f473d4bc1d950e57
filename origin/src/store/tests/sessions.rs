//! Sessions, devices, tokens that set a password, revocations and signing keys, the same on each engine.

use super::conformance::{AT, read, school};
use super::*;
use sync_protocol::revocation::Revocation;

on_each_engine! {
    sessions_are_those_that_can_be_continued,
    devices_are_named_anew_and_removed,
    a_reset_token_belongs_to_its_institute_and_goes_with_its_user,
    a_revocation_is_in_the_account_and_in_the_directory,
    signing_keys_come_in_the_order_of_their_turns,
}

fn token(hash: u8, family: &str, user: &str, issued_at: i64) -> RefreshToken {
    RefreshToken {
        token_hash: vec![hash],
        family: family.into(),
        user: user.into(),
        device: format!("device-{family}"),
        issued_at,
        expires_at: AT + 1_000,
        rotated_at: None,
        revoked_at: None,
        successor: None,
    }
}

fn sessions_are_those_that_can_be_continued(TestStore { store, .. }: &TestStore) {
    school(store);
    write(store, |tx| {
        for (hash, family, user, issued_at) in
            [(1, "a", "ann", AT), (2, "b", "ann", AT + 5), (3, "c", "ann", AT + 1), (4, "d", "bob", AT)]
        {
            tx.add_refresh_token(&token(hash, family, user, issued_at))?;
        }
        tx.mark_rotated(&[1], Some(&[5]), AT + 7)?;
        tx.add_refresh_token(&token(5, "a", "ann", AT + 7))?;
        tx.revoke_family("c", AT + 8)?;
        let device =
            Device { device: "device-a".into(), name: "Phone".into(), platform: None, registered_at: AT };
        tx.put_device("ann", &device)
    })
    .unwrap();
    let sessions = |user: &str, now| read(store, |records| records.sessions(user, now));
    let session = |session: &str, name: Option<&str>, signed_in_at, refreshed_at| Session {
        session: session.into(),
        device: format!("device-{session}"),
        device_name: name.map(str::to_owned),
        signed_in_at,
        refreshed_at,
        expires_at: AT + 1_000,
    };
    let both = [session("b", None, AT + 5, AT + 5), session("a", Some("Phone"), AT, AT + 7)];
    assert_eq!(sessions("ann", AT + 10), both);
    assert_eq!(sessions("ann", AT + 1_000), []);
    write(store, |tx| tx.revoke_sessions("ann", AT + 11)).unwrap();
    assert_eq!(sessions("ann", AT + 12), []);
    assert_eq!(sessions("bob", AT + 12).len(), 1);
}

fn devices_are_named_anew_and_removed(TestStore { store, .. }: &TestStore) {
    school(store);
    let device = |device: &str, name: &str, platform: Option<&str>, registered_at| Device {
        device: device.into(),
        name: name.into(),
        platform: platform.map(str::to_owned),
        registered_at,
    };
    let (phone, tablet) = (device("p", "Phone", None, AT), device("t", "Tablet", Some("ios"), AT + 1));
    let renamed = device("p", "Old phone", Some("android"), AT + 2);
    write(store, {
        let (phone, tablet, renamed) = (phone.clone(), tablet.clone(), renamed.clone());
        move |tx| [tablet, phone, renamed].iter().try_for_each(|device| tx.put_device("ann", device))
    })
    .unwrap();
    let renamed = Device { registered_at: AT, ..renamed };
    assert_eq!(read(store, |records| records.devices("ann")), [renamed, tablet]);
    assert_eq!(read(store, |records| records.devices("bob")), []);
    write(store, |tx| {
        assert!(!tx.remove_device("bob", "p")?);
        assert!(tx.remove_device("ann", "p")?);
        assert!(!tx.remove_device("ann", "p")?);
        Ok(())
    })
    .unwrap();
}

fn a_reset_token_belongs_to_its_institute_and_goes_with_its_user(TestStore { store, .. }: &TestStore) {
    school(store);
    let reset = |hash: u8, user: &str, expires_at| PasswordReset {
        token_hash: vec![hash],
        user: user.into(),
        expires_at,
    };
    write(store, move |tx| {
        tx.add_password_reset(&reset(1, "ann", AT + 5), AT)?;
        tx.add_password_reset(&reset(2, "bob", AT + 5), AT)?;
        tx.add_password_reset(&reset(3, "ann", AT + 20), AT + 5)
    })
    .unwrap();
    let found = |hash: u8| read(store, |records| records.password_reset(&[hash]));
    assert_eq!((found(1), found(3)), (None, Some(reset(3, "ann", AT + 20))));
    let elsewhere =
        store.read_blocking::<_, StoreError>("riverside.example", |records| records.password_reset(&[3]));
    assert_eq!(elsewhere.unwrap(), None);
    write(store, |tx| {
        tx.remove_password_resets("ann")?;
        tx.set_password("ann", "$argon2id$new")
    })
    .unwrap();
    assert_eq!((found(3), found(2)), (None, Some(reset(2, "bob", AT + 5))));
    let hash = |user: &str| read(store, |records| records.account(user)).unwrap().password_hash;
    assert_eq!((hash("ann").as_deref(), hash("bob")), (Some("$argon2id$new"), None));
}

fn a_revocation_is_in_the_account_and_in_the_directory(TestStore { store, .. }: &TestStore) {
    school(store);
    let mut revocation = Revocation::default();
    revocation.end_session("s", 100, 1_000);
    revocation.not_before = 7;
    let expected = revocation.clone();
    write(store, move |tx| tx.set_revocation("ann", &revocation)).unwrap();
    read(store, |records| {
        assert_eq!(records.account("ann")?.unwrap().revocation, expected);
        assert_eq!(records.account("bob")?.unwrap().revocation, Revocation::default());
        assert_eq!(records.directory_entry("ann")?.unwrap().revocation, expected);
        let directory = records.directory()?;
        let of = |user: &str| directory.iter().find(|entry| entry.user == user).unwrap().revocation.clone();
        assert_eq!((of("ann"), of("bob")), (expected.clone(), Revocation::default()));
        Ok(())
    });
}

fn signing_keys_come_in_the_order_of_their_turns(TestStore { store, .. }: &TestStore) {
    let key = |kid: &str, signs_from| StoredKey { kid: kid.into(), secret: vec![7; 32], signs_from };
    store
        .write_blocking::<_, StoreError, _>(NO_INSTITUTE, move |tx| {
            for signs_from in [AT, AT + 2, AT + 1] {
                tx.add_signing_key(&key(&signs_from.to_string(), signs_from), AT)?;
            }
            tx.remove_signing_key(&(AT + 1).to_string())
        })
        .unwrap();
    let keys = store.read_blocking::<_, StoreError>(NO_INSTITUTE, |records| records.signing_keys()).unwrap();
    assert_eq!(keys, [key(&(AT + 2).to_string(), AT + 2), key(&AT.to_string(), AT)]);
}
