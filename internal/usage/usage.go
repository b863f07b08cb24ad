// Package usage sums audit records for people: who called what, how often, for how many tokens and how much
// money. It reads what internal/audit writes, or Cloud Logging's export of it, and shows a Table as text, CSV, JSON
// or, several of them, as a page with plots.
//
// Inputs may be larger than memory, and what they say is not trusted. A record is counted and forgotten; what is held grows
// with the number of different groups, models and clients, up to a bound. Nothing that is printed
// commands a terminal, a browser or a spreadsheet.
package usage
