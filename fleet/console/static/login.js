// Takes the token out of the address that `fleet up` prints: what follows # is sent to no server and kept in no log.
"use strict";
(() => {
  const field = document.getElementById("token");
  const enter = () => {
    const token = decodeURIComponent(location.hash.slice(1));
    if (!field || !token) return;
    history.replaceState(null, "", location.pathname + location.search);
    field.value = token;
    field.form.submit();
  };
  addEventListener("hashchange", enter);
  enter();
})();
