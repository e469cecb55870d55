// Served by `ablate report --live`: the page loads itself anew once the server has a newer one.
"use strict";
{
  const address = location.pathname;
  let tag;

  async function look() {
    try {
      const answer = await fetch(address, { method: "HEAD", cache: "no-store" });
      const now = answer.headers.get("ETag");
      if (tag && now && now !== tag) location.reload();
      tag ??= now;
    } catch {
      // the server has ended; what is shown stays
    }
  }

  look();
  setInterval(look, 2000);
}
