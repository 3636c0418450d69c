//! As whom a container acts.

use oci_spec::runtime::LinuxIdMapping;
use oci_spec::runtime::User as ProcessUser;

use super::container::User;
use super::refusal::Refusal;

/// The number that means nobody in particular to the kernel's calls.
const NO_ONE: u32 = u32::MAX;

/// The user of the host that a configuration's user is, where its user namespace has these maps.
///
/// A guest sees no numbers of users, so that it needs no namespace for them: its process acts as whom
/// they mean on the host.
pub(super) fn user(
    user: &ProcessUser,
    uids: &[LinuxIdMapping],
    gids: &[LinuxIdMapping],
) -> Result<User, Refusal> {
    if user.username().as_ref().is_some_and(|name| !name.is_empty()) {
        let reason = "users are numbers here; a name is Windows'";
        return Err(Refusal::new("process.user.username", reason));
    }
    let groups = user.additional_gids().as_deref().unwrap_or_default();
    if let Some(umask) = user.umask()
        && 0o777 < umask
    {
        return Err(Refusal::new("process.user.umask", format!("{umask:o} is more than 777")));
    }
    Ok(User {
        uid: on_host("process.user.uid", user.uid(), uids)?,
        gid: on_host("process.user.gid", user.gid(), gids)?,
        groups: groups
            .iter()
            .map(|group| on_host("process.user.additionalGids", *group, gids))
            .collect::<Result<_, _>>()?,
        umask: user.umask(),
    })
}

/// What a number of a container is on the host.
fn on_host(setting: &str, id: u32, maps: &[LinuxIdMapping]) -> Result<u32, Refusal> {
    if id == NO_ONE {
        return Err(Refusal::new(setting, format!("{id} is nobody's number")));
    }
    if maps.is_empty() {
        return Ok(id);
    }
    let mapped = maps.iter().find_map(|map| {
        let offset = id.checked_sub(map.container_id())?;
        if offset < map.size() { map.host_id().checked_add(offset) } else { None }
    });
    let missing =
        || format!("{id} is in none of the maps of `linux.uidMappings` and `gidMappings`");
    mapped.filter(|id| *id != NO_ONE).ok_or_else(|| Refusal::new(setting, missing()))
}
