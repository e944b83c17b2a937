// Package sample makes entries to test and measure text search with: short notes of neutral words in French, English,
// Arabic and Persian, with labels, sources, banks and times, as frequent as words and hosts are (Zipf's law).
package sample

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"
	"time"

	"vigie/index/text"
)

// Begin is the time of the first entry of [Documents]; each further one is some minutes later.
var Begin = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

// Banks is how many banks entries are in, numbered from 1.
const Banks = 20

// Documents yields n entries, numbered from 1, the same for the same seed: a longer sequence begins with a shorter one.
func Documents(seed uint64, n int) iter.Seq[text.Document] {
	return func(yield func(text.Document) bool) {
		g := newGenerator(seed)
		at := Begin
		for i := range n {
			at = at.Add(time.Duration(g.IntN(120_000)) * time.Millisecond)
			if !yield(g.document(uint64(i)+1, at)) {
				return
			}
		}
	}
}

// Notes yields notes in a language, fr, en, ar or fa, such as those of [Documents], the same for the same seed.
func Notes(seed uint64, language string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for g := newGenerator(seed); yield(g.note(language, 3+g.IntN(18))); {
		}
	}
}

// Queries are texts that people would look for in [Documents], of one to three words, in each language, some common and
// some rare.
func Queries() []string {
	return []string{
		"drapeau", "affiche ville", "musique rivière", "photo du marché", "lettre ancienne", "journaux",
		"banner", "crowd market", "translated letter", "old bridge river", "posters", "school",
		"كتاب", "مدينة كبيرة", "رسالة قديمة", "صورة السوق", "مدرسه",
		"کتاب", "شهر بزرگ", "نامه",
		"example.org", "recruitment", `"old bridge"`, `"photo du marché"`, "affich*", "banr~", "music -river", "label:notice",
	}
}

var vocabulary = map[string][]string{
	"fr": strings.Fields(`de la le et les des en un du une est pour dans sur avec par qui affiche photo drapeau ville musique
		rivière marché lettre journal école pont maison chanson voiture montagne jardin bateau fenêtre porte table chaise
		couleur rouge noir blanc vert ancienne nouveau grande petit deuxième traduction copie version image vidéo logo
		texte page titre groupe réunion annonce message archive région pays place rue gare train avion neige pluie soleil
		oiseau cheval chien arbre fleur pain café sel lait pomme affiches drapeaux journaux chansons chevaux villes lettres`),
	"en": strings.Fields(`the of and a to in is for on with by that poster photo banner city music river market letter newspaper
		school bridge house song car mountain garden boat window door table chair colour red black white green old new
		large small second translated copy version picture video logo text page title group meeting notice message
		archive region country square street station train plane snow rain sun bird horse dog tree flower bread coffee
		salt milk apple posters banners letters songs horses cities running crowd crowded meetings translation`),
	"ar": strings.Fields(`في من على إلى هذا هذه التي كتاب الكتاب كتب مدينة المدينة كبيرة صغيرة رسالة رسائل قديمة جديدة صورة الصورة
		السوق سوق مدرسة المدرسة جسر نهر بيت أغنية سيارة جبل حديقة قارب نافذة باب طاولة كرسي لون أحمر أسود أبيض أخضر
		ترجمة نسخة فيديو نص صفحة عنوان مجموعة اجتماع إعلان خبر أرشيف بلد شارع محطة قطار طائرة ثلج مطر شمس طائر حصان
		شجرة زهرة خبز قهوة ملح حليب تفاحة`),
	"fa": strings.Fields(`از در به این که با برای کتاب شهر بزرگ کوچک نامه قدیمی جدید عکس بازار مدرسه پل رودخانه خانه آهنگ ماشین
		کوه باغ قایق پنجره میز صندلی رنگ قرمز سیاه سفید سبز ترجمه نسخه متن صفحه گروه جلسه آگهی پیام کشور خیابان ایستگاه
		قطار هواپیما برف باران خورشید پرنده اسب درخت گل نان قهوه نمک شیر سیب ` + "می\u200cرود کتاب\u200cها"),
}

var (
	labels = strings.Fields(`behaviour:recruitment behaviour:notice behaviour:instruction severity:low severity:medium severity:high
		confidence:high confidence:low tlp:amber tlp:green producer:unknown producer:studio context:news context:education
		kind:poster kind:video kind:logo kind:letter lang:fr lang:ar lang:en lang:fa review:done review:open`)
	hosts = strings.Fields(`example.org www.example.com media.example.net video.example files.example.org pics.example forum.example.com
		archive.example channel.example cdn.example.net`)
	syllables = map[string][]string{
		"latin":  strings.Fields("ba ke li mo nu ra se ti vo za chi dre fal gon har jil kom len mir pat"),
		"arabic": strings.Fields("با كي لو مد نر سا تي فو زل شم دن جا هي وق"),
	}
	statuses = strings.Fields("active active active active active active active retracted proposed quarantined")
)

type generator struct {
	*rand.Rand
	rank map[string]*rand.Zipf
	host *rand.Zipf
	bank *rand.Zipf
	name *rand.Zipf
}

func newGenerator(seed uint64) *generator {
	r := rand.New(rand.NewPCG(seed, 1))
	g := &generator{Rand: r, rank: map[string]*rand.Zipf{}}
	for l, words := range vocabulary {
		g.rank[l] = rand.NewZipf(r, 1.1, 4, uint64(len(words)-1))
	}
	g.host = rand.NewZipf(r, 1.2, 2, 2000)
	g.bank = rand.NewZipf(r, 1.2, 2, Banks-1)
	g.name = rand.NewZipf(r, 1.05, 20, 200_000)
	return g
}

func (g *generator) document(entry uint64, at time.Time) text.Document {
	d := text.Document{Entry: entry, Bank: uint32(g.bank.Uint64()) + 1, Status: statuses[g.IntN(len(statuses))], CreatedAt: at}
	language := []string{"fr", "fr", "fr", "en", "en", "en", "ar", "ar", "fa", ""}[g.IntN(10)]
	if language != "" {
		d.Note = g.note(language, 3+g.IntN(18))
	}
	if g.IntN(12) == 0 {
		d.Note += " " + g.note("en", 4) // quotes another language
	}
	for range g.IntN(4) {
		d.Labels = append(d.Labels, labels[g.IntN(len(labels))])
	}
	for range 1 + g.IntN(2) {
		d.Sources = append(d.Sources, g.source())
	}
	if d.Status == "retracted" {
		d.Reason = g.note("en", 3)
	}
	return d
}

func (g *generator) note(language string, words int) string {
	var b strings.Builder
	for i := range words {
		if i > 0 {
			b.WriteByte(' ')
		}
		if g.IntN(5) == 0 {
			b.WriteString(g.proper(language))
		} else {
			b.WriteString(vocabulary[language][g.rank[language].Uint64()])
		}
		if g.IntN(9) == 0 {
			b.WriteByte(',')
		}
	}
	return b.String()
}

// proper is one of very many names, few of which are frequent.
func (g *generator) proper(language string) string {
	s := syllables["latin"]
	if language == "ar" || language == "fa" {
		s = syllables["arabic"]
	}
	var b strings.Builder
	for n := g.name.Uint64() + uint64(len(s)); n > 0; n /= uint64(len(s)) {
		b.WriteString(s[n%uint64(len(s))])
	}
	return b.String()
}

func (g *generator) source() string {
	switch g.IntN(4) {
	case 0:
		return fmt.Sprintf("case %d-%05d", 2020+g.IntN(7), g.IntN(100_000))
	case 1:
		return "analyst-" + fmt.Sprint(g.IntN(50))
	}
	n := g.host.Uint64()
	host := fmt.Sprintf("h%d.example", n)
	if n < uint64(len(hosts)) {
		host = hosts[n]
	}
	return fmt.Sprintf("https://%s/%s/%s-%d", host, vocabulary["en"][12+g.IntN(60)], string(rune('a'+g.IntN(26))), g.IntN(1000))
}
