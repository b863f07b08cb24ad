'use strict';
// Searching, arrow keys, and opening a cell in place. The page works without.
(() => {
  const $ = id => document.getElementById(id);
  const tables = [...document.querySelectorAll('.matrix table')];
  const dialog = $('why');
  document.documentElement.classList.add('scripted');
  $('search').hidden = false;
  $('search').addEventListener('submit', e => e.preventDefault());

  const words = input => input.value.toLowerCase().split(/\s+/).filter(Boolean);
  const matches = (text, all) => all.every(w => text.toLowerCase().includes(w));
  function search() {
    const who = words($('who')), of = words($('of'));
    const rows = new Set(), columns = new Set();
    for (const table of tables) {
      const heads = [...table.tHead.rows[0].cells];
      const shown = heads.map((th, i) => i === 0 || matches(th.title, of));
      heads.forEach((th, i) => { th.hidden = !shown[i]; if (i > 0 && shown[i]) columns.add(th.title); });
      for (const tr of table.tBodies[0].rows) {
        const name = tr.cells[0].textContent;
        tr.hidden = !matches(name, who);
        if (tr.hidden) continue;
        rows.add(name);
        for (let i = 1; i < tr.cells.length; i++) if (tr.cells[i].hidden === shown[i]) tr.cells[i].hidden = !shown[i];
      }
      table.closest('section').hidden = !shown.includes(true, 1);
      stop(table);
    }
    for (const tr of document.querySelectorAll('.changes tbody tr')) tr.hidden = !matches(tr.cells[0].textContent, who) || !matches(tr.dataset.of, of);
    $('found').textContent = who.length + of.length === 0 ? '' : rows.size + ' of ' + tables[0].tBodies[0].rows.length + ' rows, ' + columns.size + ' columns';
  }

  // One cell of a table is reached by tab, the others by arrows.
  function stop(table, cell) {
    const old = table.querySelector('a.cell[tabindex="0"]');
    if (!cell && old && !old.closest('[hidden]')) return;
    if (old) old.tabIndex = -1;
    cell = cell || [...table.querySelectorAll('td:not([hidden]) a.cell')].find(a => !a.closest('[hidden]'));
    if (cell) cell.tabIndex = 0;
  }
  function next(td, across, down) {
    const seen = e => e && !e.hidden;
    let tr = td.parentElement, i = td.cellIndex;
    if (down) {
      do tr = down > 0 ? tr.nextElementSibling : tr.previousElementSibling; while (tr && tr.hidden);
      return tr && tr.cells[i];
    }
    do i += across; while (i > 0 && i < tr.cells.length && !seen(tr.cells[i]));
    return i > 0 ? tr.cells[i] : null;
  }
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  for (const table of tables) {
    for (const a of table.querySelectorAll('a.cell')) a.tabIndex = -1;
    stop(table);
    table.addEventListener('keydown', e => {
      const td = e.target.closest('td');
      if (!td || e.ctrlKey || e.metaKey || e.altKey) return;
      let to = moves[e.key] && next(td, ...moves[e.key]);
      if (e.key === 'Home' || e.key === 'End') {
        const all = [...td.parentElement.cells].slice(1).filter(c => !c.hidden);
        to = e.key === 'Home' ? all[0] : all[all.length - 1];
      }
      if (e.key === ' ') { e.preventDefault(); e.target.click(); }
      if (!to) return;
      e.preventDefault();
      const a = to.querySelector('a');
      stop(table, a);
      a.focus();
      a.scrollIntoView({ block: 'nearest', inline: 'nearest' });
    });
  }

  document.addEventListener('click', e => {
    if (e.target === dialog) return dialog.close();
    const a = e.target.closest('a.cell');
    if (!a || e.ctrlKey || e.metaKey || e.shiftKey) return;
    const why = $(a.hash.slice(1)), tr = a.closest('tr'), td = a.closest('td'), table = a.closest('table');
    e.preventDefault();
    let of = tr.dataset.of;
    if (of) of = of.trim() + ' · ' + (td.nextElementSibling ? 'before' : 'after');
    else {
      stop(table, a);
      of = table.tHead.rows[0].cells[td.cellIndex].title;
    }
    $('why-title').textContent = [...tr.cells[0].childNodes].map(n => n.textContent).join(' ') + ' · ' + of;
    const text = why.cloneNode(true);
    text.removeAttribute('id');
    for (const li of text.querySelectorAll('li')) {
      const policy = $(li.dataset.policy);
      li.className = policy.classList.contains('forbid') ? 'forbid' : '';
      li.append(policy.querySelector('pre').cloneNode(true));
      li.querySelector('a').removeAttribute('href');
    }
    $('why-text').replaceChildren(...text.childNodes);
    dialog.showModal();
    dialog.scrollTop = 0;
  });
  $('who').addEventListener('input', search);
  $('of').addEventListener('input', search);
})();
