"""Words that are names or places and clinical or plain words too, and what decides between them.

The lists are stated, not learned: a reader can hold them against a site's own names. `EPONYMS` are names only where
the words around say so (a title, a first name beside them, the document's own patient), never before a word in
`OF_DISEASE`.
"""

EPONYMS = frozenset(
    """parkinson parkinsons alzheimer alzheimers crohn crohns hodgkin hodgkins graves bell bells foley cushing cushings
    addison addisons marfan down downs wilson wilsons babinski hickman swan ganz paget pagets barrett barretts
    raynaud raynauds billroth whipple bright brights wegener wegeners sjogren sjogrens kaposi murphy murphys
    kerley romberg apgar glasgow child pugh braden gleason ewing lewy hashimoto hashimotos huntington
    huntingtons turner turners klinefelter reye reyes kawasaki korsakoff wernicke meniere menieres tourette
    tourettes takayasu behcet bowen bowens wilms hirschsprung meckel charcot baker bakers colles dupuytren
    gilbert gilberts goodpasture guillain barre horner horners lynch ludwig mallory weiss peyronie pott potts
    ramsay hunt sever still stevens johnson johnsons trendelenburg valsalva virchow zollinger ellison young
    wright giemsa gram hunter hunters phalen tinel lachman mcmurray spurling weber rinne snellen kocher morrison
    winter winters starling frank doppler roentgen coombs schilling ham bence jones ranson forrester killip duke
    dukes hess bishop ford hardy ross osler janeway roth austin flint carey graham steell fisher miller norman
    white brown black gray green long short price rice day may august june april rose grace hope faith joy will
    mark bill grant drew chase dean page case best good love noble power wise strong small little sharp swift
    stone wood woods field fields hill hall lake banks park parks king knight marshall mason cook taylor smith
    carter porter ward west east north south church bush rivers waters snow frost summer spring cross bond cash
    gold silver pearl ruby iris lily violet penny bob pat sue art guy rich jack don dot ray rod gene dale earl
    ty lance van lane ash heath clay glen cliff reed moss rush early moody battle barker bowman fry fuller head
    heart legg foot hand back armstrong bones beard hair shin chin sweet salt pepper lemon berry bean coffee tea
    beer bacon fish wolf fox bull lamb crane bird hawk martin la ms ma pa me or in oh hi ok id de al co ct va ra
    mi as an no so do go min max kim lee le ha vo ng li hu ho su tu yu ya ye wu xu hong song kang chang sang
    santos cruz sandoz abbott lilly merck pfizer stryker medtronic""".split()
)
"""Lower case. Words that are no names where nothing around says so."""

OF_DISEASE = frozenset(
    """disease diseases syndrome sign signs palsy catheter line lines procedure lymphoma sarcoma granulomatosis
    phenomenon esophagus dementia test tests score scale fracture tumor tumour cell cells body bodies criteria
    classification index reflex maneuver manoeuvre stain antigen virus fever operation repair sulcus ring node
    nodes nodule nodules contracture spots lesions point murmur hernia cyst tube drain pouch anomaly
    malformation ulcer aneurysm chorea ataxia dystrophy thyroiditis encephalopathy nephritis arteritis
    vasculitis anemia carcinoma position diet coma's curve equation formula stage grade's class dressing collar
    brace splint boot retractor clamp forceps enlargement pressure 's""".split()
)

_DEGREES = "md do rn np pa phd pharmd msw dds lpn crna aprn licsw lcsw"
_ORDINARY = """
    a an the and or of for with without from to in on at by as is was are were be been being has had have will would
    can could should may might must shall not no none nil yes unknown unable denies denied reports reported
    states stated noted notes presents presented seen discussed follow followed following admitted discharged
    transferred called who whom which that this these those there here his her him she he they them their it its
    we our us you your i my me patient patients pt pts mother father wife husband daughter son sister brother
    family friend nurse doctor physician provider attending resident surgeon staff service team office clinic
    hospital unit floor room department medicine surgery history past present physical exam examination
    assessment plan impression diagnosis diagnoses medications allergies allergy labs vital signs review systems
    chief complaint social admission discharge summary date time name address phone fax mrn dob sex age male
    female left right bilateral upper lower normal abnormal mild moderate severe acute chronic stable improved
    pain fever cough chest abdomen heart lung lungs liver kidney blood pressure glucose sodium creatinine
    potassium negative positive today yesterday tomorrow daily weekly monthly now then after before during since
    until about also both all any each per via see note please continue start stop take given give home alive
    deceased died living lives alone well works retired involved aware bedside updated agrees agreed able active
    continued recommended recommends advised suggests evaluated reviewed electronically dictated transcribed
    signed and/or tel cc re primary care emergency contact next kin health proxy consult consulted consultant
    cardiology neurology oncology urology radiology pathology nephrology psychiatry dermatology gastroenterology
    orthopedics pulmonology endocrinology infectious disease general internal infection cancer diabetes
    hypertension asthma stroke if when where what how why because due very more most less other another same
    such only just than too so but once twice three two one four five first second third last new old laboratory
    request protocol routine orders order insulin aspirin heparin lisinopril metoprolol ct mri ekg ecg icu er ed
    pacu nicu ccu dr drs mr mrs ms miss mister year years month months week weeks day days prof professor""".split()
NO_NAME = frozenset([*_ORDINARY, *_DEGREES.split()])
"""Lower case. Words that are never a name, whatever stands around them."""
