//! Every method, and who may call it: one table.

use crate::{access::Role, telemetry::Method};

/// The path prefix of health. It needs no credentials, since a kubelet has none, and is never refused for overload; it reveals
/// nothing but the health of the service.
pub(super) const HEALTH: &str = "/grpc.health.v1.Health/";

const ANY_ROLE: &[Role] = &[Role::Reader, Role::Coordinator, Role::Admin];

/// A method of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rpc {
    /// Its name.
    pub(super) name: &'static str,
    /// The roles, any of which may call it. Whose decision a refund or a reversal is, the entry says that it undoes.
    pub(super) roles: &'static [Role],
    /// Whether it moves or holds money.
    pub(super) writes: bool,
    /// Whether it answers with a page of a list.
    pub(super) is_list: bool,
    /// Whether it carries out a list of operations of the other methods, each of which needs its own role.
    pub(super) is_batch: bool,
}

/// Every method of the ledger.
pub(super) const METHODS: [Rpc; 23] = [
    writes("Credit", &[Role::Coordinator]),
    writes("Charge", &[Role::Coordinator]),
    writes("Refund", &[Role::Coordinator, Role::Admin]),
    writes("AdminCredit", &[Role::Admin]),
    writes("Reserve", &[Role::Coordinator]),
    writes("Capture", &[Role::Coordinator]),
    writes("Release", &[Role::Coordinator]),
    writes("ExtendReservation", &[Role::Coordinator]),
    writes("SetAccount", &[Role::Admin]),
    writes("Reverse", &[Role::Coordinator, Role::Admin]),
    writes("Withdraw", &[Role::Coordinator]),
    Rpc { is_batch: true, ..writes("Apply", &[Role::Coordinator, Role::Admin]) },
    reads("GetAccount"),
    lists("ListAccounts"),
    reads("GetStatement"),
    reads("FindPayment"),
    reads("GetEntry"),
    lists("ListEntries"),
    reads("GetOperation"),
    reads("GetReservation"),
    lists("ListReservations"),
    lists("ListGrants"),
    reads("GetCaller"),
];

const fn writes(name: &'static str, roles: &'static [Role]) -> Rpc {
    Rpc { name, roles, writes: true, is_list: false, is_batch: false }
}

const fn reads(name: &'static str) -> Rpc {
    Rpc { name, roles: ANY_ROLE, writes: false, is_list: false, is_batch: false }
}

const fn lists(name: &'static str) -> Rpc {
    Rpc { is_list: true, ..reads(name) }
}

pub(super) const LEDGER: &str = "/billing.v1.BillingService/";
pub(super) const SERVICE: &str = "billing.v1.BillingService";

/// Everything else: reflection, and unknown paths.
const OTHER: Method = Method { grpc_service: "other", grpc_method: "other" };

/// The method of the ledger with a path.
pub(super) fn rpc(path: &str) -> Option<Rpc> {
    named(path.strip_prefix(LEDGER)?)
}

/// The method of the ledger with a name.
pub(super) fn named(name: &str) -> Option<Rpc> {
    METHODS.into_iter().find(|rpc| rpc.name == name)
}

/// The method of a path. Unknown paths have one common name, so that callers cannot invent labels.
pub(super) fn method(path: &str) -> Method {
    if path.starts_with(LEDGER) {
        return rpc(path).map_or(OTHER, |rpc| Method { grpc_service: SERVICE, grpc_method: rpc.name });
    }
    let grpc_service = "grpc.health.v1.Health";
    match path.strip_prefix(HEALTH) {
        Some("Check") => Method { grpc_service, grpc_method: "Check" },
        Some("Watch") => Method { grpc_service, grpc_method: "Watch" },
        Some(_) | None => OTHER,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;
    use crate::grpc::proto::FILE_DESCRIPTOR_SET;

    #[test]
    fn every_method_of_the_contract_is_in_the_table() {
        let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
        let ledger =
            set.file.iter().flat_map(|file| &file.service).find(|service| service.name() == "BillingService");
        let methods: BTreeSet<_> =
            ledger.unwrap().method.iter().map(|method| method.name().to_owned()).collect();
        assert_eq!(methods, METHODS.iter().map(|rpc| rpc.name.to_owned()).collect());
        for known in METHODS {
            let is_get = known.name.starts_with("Get") || known.name.starts_with("Find");
            let is_list = known.name.starts_with("List");
            assert_eq!((known.writes, known.is_list), (!is_get && !is_list, is_list), "{known:?}");
            assert_eq!(rpc(&format!("{LEDGER}{}", known.name)), Some(known));
        }
        for unknown in ["Mint", "credit", "", "Credit/"] {
            assert_eq!(rpc(&format!("{LEDGER}{unknown}")), None, "{unknown}");
        }
    }

    #[test]
    fn the_page_on_security_has_the_roles_of_every_method() {
        let page = include_str!("../../docs/SECURITY.md");
        let row = |name: &str| {
            page.lines().find(|line| line.starts_with("| `") && line.contains(&format!("`{name}`")))
        };
        for Rpc { name, roles, .. } in METHODS {
            let row = row(name).unwrap_or_else(|| panic!("{name} is not there"));
            let cells: Vec<bool> = row.split('|').skip(2).take(3).map(|cell| cell.trim() == "yes").collect();
            assert_eq!(
                cells,
                [Role::Reader, Role::Coordinator, Role::Admin].map(|role| roles.contains(&role)),
                "{name}"
            );
        }
    }
}
