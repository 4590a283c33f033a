# SPDX-License-Identifier: GPL-2.0
# class.KERNEL... sites: count what each kernel does with the sites, by file and
# kind on stdout, by form in the file `forms`. A class file has lines
# "instruction<TAB>e, s or r", sites "file<TAB>kind<TAB>instruction<TAB>form".
BEGIN { FS = "\t"; OFS = "," }
FNR == 1 {
	reading_sites = FILENAME !~ /class\.[^\/]*$/
	if (!reading_sites) {
		name = FILENAME
		sub(/.*class\./, "", name)
		kernels[++nr] = name
	}
}
!reading_sites { class[nr, $1] = $2; next }
{
	file = $1
	if (root != "" && index(file, root) == 1)
		file = substr(file, length(root) + 1)
	key = file OFS $2
	if (!(key in sites))
		order[++keys] = key
	sites[key]++
	sites["total" OFS $2]++
	gsub(/,/, "", $4)
	form = $2 OFS $4
	if (!(form in form_sites))
		form_order[++nr_forms] = form
	form_sites[form]++
	for (k = 1; k <= nr; k++) {
		c = class[k, $3]
		count[k, c, key]++
		count[k, c, "total" OFS $2]++
		form_count[k, c, form]++
	}
}
function line(key, n,	k, text)
{
	text = key OFS n
	for (k = 1; k <= nr; k++)
		text = text OFS count[k, "s", key] + 0 OFS count[k, "r", key] + 0
	return text
}
END {
	header = "sites"
	for (k = 1; k <= nr; k++)
		header = header OFS kernels[k] "_stepped" OFS kernels[k] "_refused"
	print "file", "kind", header
	for (i = 1; i <= keys; i++)
		print line(order[i], sites[order[i]])
	print line("total,function", sites["total,function"] + 0)
	print line("total,marker", sites["total,marker"] + 0)

	print "kind", "form", header >forms
	sorted = "sort -t, -k3,3nr -k2,2 >>" forms
	close(forms)
	for (i = 1; i <= nr_forms; i++) {
		form = form_order[i]
		text = form OFS form_sites[form]
		for (k = 1; k <= nr; k++)
			text = text OFS form_count[k, "s", form] + 0 OFS form_count[k, "r", form] + 0
		print text | sorted
	}
	close(sorted)
}
