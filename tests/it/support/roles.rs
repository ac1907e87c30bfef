//! Roles of one book alone: they belong to the whole server, which other tests use, too.

use super::TestBook;

impl TestBook {
    /// The name of its database.
    pub fn database(&self) -> &str {
        self.url.split(['/', '?']).nth(3).unwrap()
    }

    /// Where it is for a role.
    pub fn url_for(&self, role: &str) -> String {
        self.url.replace("//billing@", &format!("//{role}@"))
    }

    /// Makes a role by the statements for `billing_service`, `billing_auditor` or both. Returns its name and its URL.
    pub async fn create_role(&self, sql: &str) -> (String, String) {
        let role = format!("role_of_{}", self.database());
        let sql = sql.replace("billing_service", &role).replace("billing_auditor", &role);
        self.run_sql(&format!("CREATE ROLE {role} LOGIN")).await.unwrap();
        self.run_sql(&sql).await.unwrap();
        let url = self.url_for(&role);
        (role, url)
    }
}
