//! Every method, and who may call it: one table.

use crate::{access::Role, telemetry::Method};

/// The path prefix of health. It needs no credentials, since a kubelet has none, and is never refused for overload; it reveals
/// nothing but the health of the service.
pub(super) const HEALTH: &str = "/grpc.health.v1.Health/";

const ANY_ROLE: &[Role] = &[Role::Reader, Role::Coordinator, Role::Admin];
const COORDINATOR: &[Role] = &[Role::Coordinator];
const ADMIN: &[Role] = &[Role::Admin];

/// Every method of the ledger, and the roles, any of which may call it.
pub(super) const METHODS: [(&str, &[Role]); 14] = [
    ("Credit", COORDINATOR),
    ("Charge", COORDINATOR),
    ("Refund", COORDINATOR),
    ("AdminCredit", ADMIN),
    ("Reserve", COORDINATOR),
    ("Capture", COORDINATOR),
    ("Release", COORDINATOR),
    ("ExtendReservation", COORDINATOR),
    ("GetAccount", ANY_ROLE),
    ("GetEntry", ANY_ROLE),
    ("ListEntries", ANY_ROLE),
    ("GetOperation", ANY_ROLE),
    ("GetReservation", ANY_ROLE),
    ("ListReservations", ANY_ROLE),
];
pub(super) const LEDGER: &str = "/billing.v1.BillingService/";

/// Everything else: reflection, and unknown paths.
const OTHER: Method = Method { grpc_service: "other", grpc_method: "other" };

/// A method of the ledger by its name, with the roles that may call it.
pub(super) fn method_of_ledger(name: &str) -> Option<(&'static str, &'static [Role])> {
    METHODS.into_iter().find(|(method, _)| *method == name)
}

/// The method of a path. Unknown paths have one common name, so that callers cannot invent labels.
pub(super) fn method(path: &str) -> Method {
    if let Some(name) = path.strip_prefix(LEDGER) {
        let known = METHODS.into_iter().find(|(method, _)| *method == name);
        return known.map_or(OTHER, |(grpc_method, _)| Method {
            grpc_service: "billing.v1.BillingService",
            grpc_method,
        });
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
    fn every_method_of_the_contract_has_its_role() {
        let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
        let ledger =
            set.file.iter().flat_map(|file| &file.service).find(|service| service.name() == "BillingService");
        let methods: BTreeSet<_> =
            ledger.unwrap().method.iter().map(|method| method.name().to_owned()).collect();
        assert_eq!(methods, METHODS.iter().map(|(method, _)| (*method).to_owned()).collect());
        for (name, roles) in METHODS {
            let reads = name.starts_with("Get") || name.starts_with("List");
            assert_eq!(roles == ANY_ROLE, reads, "{name}");
            assert_eq!(method_of_ledger(name), Some((name, roles)));
        }
        for unknown in ["Mint", "credit", "", "Credit/"] {
            assert_eq!(method_of_ledger(unknown), None, "{unknown}");
        }
    }
}
