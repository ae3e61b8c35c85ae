"""Letters beyond ASCII of the languages that one-byte encodings were made for, from the most frequent to the rarest.

From general knowledge of each orthography; only the order of magnitude matters.
"""

LATIN_LANGUAGES = {
    "English": "éöüáíóçñèäïêåøãàôâëæõúûî",
    "French": "éàèêçôîûùâëïœüÿæ",
    "German": "üäößé",
    "Spanish": "óíáéñúü",
    "Portuguese": "ãçáéóíêõúâàôü",
    "Italian": "àèùòéì",
    "Catalan": "àéòíèçóúïü",
    "Dutch": "ëéïöèüê",
    "Swedish and Finnish": "äöåé",
    "Danish and Norwegian": "øåæéòôü",
    "Icelandic": "áíðöúóþéæý",
    "Polish": "łąężśóćńź",
    "Czech": "íáéěýčřžšůúťňďó",
    "Slovak": "áíéčýžúšľťňôäďóŕĺ",
    "Hungarian": "áéöóőüíűú",
    "Croatian and Slovene": "čšžćđ",
    "Romanian": "ăîâţşțș",
    "Turkish": "ıüşğöçİâîû",
    "Latvian": "āīēšņūļķžģč",
    "Lithuanian": "ėąųšįžūčęõ",
    "Estonian": "äõüöšž",
    "Maltese": "ħżġċàùèòìî",
    "Esperanto": "ĉŝĝŭĵĥ",
    "Welsh": "ŵŷâêôîûáëïö",
    "Irish in the old spelling": "áíéóúċḃḟġṁṗṡṫḋ",
    "Albanian": "ëç",
}
DENSE_LANGUAGES = frozenset(
    [
        "Icelandic",
        "Polish",
        "Czech",
        "Slovak",
        "Hungarian",
        "Croatian and Slovene",
        "Romanian",
        "Turkish",
        "Latvian",
        "Lithuanian",
        "Estonian",
        "Maltese",
        "Esperanto",
        "Welsh",
        "Irish in the old spelling",
        "Albanian",
    ]
)
"""Languages in which more than one letter in a hundred is beyond ASCII, however short the text."""
OTHER_LANGUAGES = {
    "Arabic": "ايلمونرتبةعدسفهكقأحجشطصىخإذزثئءغضآظؤ",
    "Hebrew": "יוהלארתבשמנםדחקפעכטגצסןזךץף",
    "Russian": "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфъё",
    "Ukrainian": "оаинвтеірсклмдупязьбгйчхжшїюцщєфґ",
    "Bulgarian": "аоиетнрсвлкдпмзъугбчяжщхцюшйфь",
    "Serbian": "аоиенрстјдвкпумлзбгчшцћжњљхђџф",
    "Macedonian": "аоиетнрсвдкмлпујзгбчшцжќњхљѓѕџф",
    "Belarusian": "аінеорсцтлўкдвмпзяуыьгчшбйжхюэёф",
    "Persian": "ایرندهمستبوشکزفگخچآپقعحجغئصطذضثظژءأؤ",
    "Urdu": "ایرےکنہوسمتلدبپگآجشھچحقعخفزطصںضٹغذثڈءئڑظژ",
    "Thai": "นารกเอง่มยลวดท้สตะีปบิคห็แจใพชข์ำุูไผถั",
    "Greek": "αοιετσνηυρπκμλωςγδήίάόχύέθφβξώζψϊϋΐ",
}
USUAL_SIGNS, UNUSUAL_SIGNS = "“”‘’–—…•«»°§©®\xa0¿¡", "„‚‹›·™±×÷µ½¼¾²³¹€£¥¢ºª†‡¶¬´¨¸\xadƒ‰№"
