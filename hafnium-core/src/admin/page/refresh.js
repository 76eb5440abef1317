"use strict";
(function () {
  var note = document.getElementById("stale");
  function refresh() {
    if (document.hidden) { return again(); }
    fetch(location.href, { cache: "no-store", credentials: "same-origin" })
      .then(function (answer) {
        if (!answer.ok) { throw new Error("status " + answer.status); }
        return answer.text();
      })
      .then(function (text) {
        var fresh = new DOMParser().parseFromString(text, "text/html");
        document.title = fresh.title;
        document.querySelector("main").replaceWith(fresh.querySelector("main"));
        note.hidden = true;
      })
      .catch(function () { note.hidden = false; })
      .finally(again);
  }
  function again() { setTimeout(refresh, 5000); }
  again();
})();
