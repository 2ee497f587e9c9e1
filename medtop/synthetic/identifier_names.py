"""Made-up people's names: in three pools that share none, so that a test's names occur in no training text.

First names and surnames are common ones of several languages; nobody in particular is meant. Some are words of clinical
language too (Parkinson, Bright, Young), because real people are called so.
"""

import hashlib

from medtop.cohort.splits import SPLITS

FEMALE = (
    "Mary Patricia Linda Barbara Susan Jessica Sarah Karen Lisa Nancy Betty Margaret Sandra Ashley Kimberly Emily "
    "Donna Michelle Carol Amanda Dorothy Melissa Deborah Stephanie Rebecca Sharon Laura Cynthia Kathleen Amy "
    "Angela Shirley Anna Brenda Pamela Emma Nicole Helen Samantha Katherine Christine Debra Rachel Carolyn Janet "
    "Catherine Maria Heather Diane Ruth Julie Olivia Joyce Virginia Victoria Kelly Lauren Christina Joan Evelyn "
    "Judith Megan Andrea Cheryl Hannah Jacqueline Martha Gloria Teresa Ann Sara Madison Frances Kathryn Janice "
    "Jean Abigail Alice Julia Judy Sophia Denise Amber Doris Marilyn Danielle Beverly Isabella Theresa Diana "
    "Natalie Brittany Charlotte Marie Kayla Alexis Lori Fatima Aisha Priya Ananya Mei Yuki Ingrid Svetlana Oksana "
    "Guadalupe Ximena Rosario Thuy Ngoc Chioma Amara Zainab Leila Shirin Hye-jin Maeve Siobhan Ottilie Wilhelmina"
).split()
MALE = (
    "James Robert John Michael David William Richard Joseph Thomas Christopher Charles Daniel Matthew Anthony "
    "Donald Steven Andrew Paul Joshua Kenneth Kevin Brian Timothy Ronald George Jason Edward Jeffrey Ryan Jacob "
    "Gary Nicholas Eric Jonathan Stephen Larry Justin Scott Brandon Benjamin Samuel Gregory Alexander Patrick "
    "Frank Raymond Jack Dennis Jerry Tyler Aaron Jose Adam Nathan Henry Zachary Douglas Peter Kyle Noah Ethan "
    "Jeremy Walter Christian Keith Roger Terry Austin Sean Gerald Carl Harold Dylan Arthur Lawrence Jordan Jesse "
    "Bryan Billy Bruce Gabriel Joe Logan Alan Juan Albert Willie Elijah Wayne Randy Vincent Mason Roy Ralph Bobby "
    "Russell Bradley Philip Eugene Mohammed Ahmed Omar Rajesh Sanjay Wei Hiroshi Dmitri Sergei Lars Bjorn Hector "
    "Ignacio Nguyen-Anh Minh Chukwuemeka Kwame Tariq Farid Sang-woo Padraig Eoin Zebulon Thaddeus"
).split()
SURNAMES = (
    "Smith Johnson Williams Jones Garcia Miller Davis Rodriguez Martinez Hernandez Lopez Gonzalez Anderson Thomas "
    "Taylor Moore Jackson Martin Lee Perez Thompson Harris Sanchez Clark Ramirez Lewis Robinson Walker Allen "
    "Wright Scott Torres Nguyen Hill Flores Adams Nelson Baker Hall Rivera Campbell Mitchell Carter Roberts Gomez "
    "Phillips Evans Turner Diaz Parker Cruz Edwards Collins Reyes Stewart Morris Morales Murphy Cook Rogers "
    "Gutierrez Ortiz Morgan Cooper Peterson Bailey Reed Kelly Howard Ramos Kim Cox Ward Richardson Watson Brooks "
    "Chavez Wood James Bennett Gray Mendoza Ruiz Hughes Price Alvarez Castillo Sanders Patel Myers Ross Foster "
    "Jimenez Powell Jenkins Perry Russell Sullivan Henderson Coleman Simmons Patterson Jordan Reynolds Hamilton "
    "Graham Gonzales Alexander Ramsey Wallace Griffin West Cole Hayes Chen Gibson Bryant Ellis Stevens Murray "
    "Ford Marshall Owens McDonald Harrison Kennedy O'Brien O'Connor D'Angelo MacLeod McCarthy Fitzgerald Okonkwo "
    "Adeyemi Mbeki Haddad Khoury Hosseini Rahman Chaudhry Krishnamurthy Venkataraman Iyer Nakamura Takahashi "
    "Yamamoto Kobayashi Wojciechowski Kowalczyk Nowakowski Horvath Petrov Ivanova Kuznetsov Andersson Johansson "
    "Lindqvist Rasmussen Vandenberg Dubois Lefebvre Moreau Schneider Fischer Zimmermann Hoffmann Rossi Esposito "
    "Romano Papadopoulos Georgiou Yilmaz Demir Cohen Levy Goldberg Rosenthal Park Choi Hwang Tran Pham Huynh "
    "Santos Silva Oliveira Carvalho Fernandes Smith-Jones Garcia-Lopez Parkinson Young Long Bell Hodge Fairbanks "
    "Whitcombe Abernathy Thistlewood Quillfeather Ravensworth Zubkova Tchaikovska Ferrante Delacroix"
).split()
TOWNS = (
    "Springfield Riverton Ashford Millbrook Fairhaven Lakeview Oakdale Brookside Cedarville Maplewood Greenfield "
    "Hillsdale Northport Eastham Westbury Stonebridge Clearwater Pinehurst Rockford Harborview Kingsbury Winslow "
    "Dunmore Elmwood Glenwood Ridgefield Salisbury Thornton Waverly Yarmouth Ashland Burlington Concordia Dalton "
    "Edgewater"
).split()
STREETS = (
    "Maple Oak Washington Elm Main Park Lake Hill Walnut Cedar Pine Lincoln Jackson Adams Highland Prospect "
    "Chestnut Franklin Monroe Willow Sunset Meadow River Spring Church Union Birchwood Juniper Larkspur Hawthorne"
).split()


def pool_of(name):
    """The split that a name belongs to, by its hash: half train, a sixth valid, a third test."""
    place = hashlib.sha256(name.encode()).digest()[0] % 6
    return SPLITS[0] if place < 3 else SPLITS[1] if place == 3 else SPLITS[2]


def pool(names, split):
    """The names of one split, in order."""
    return [name for name in names if pool_of(name) == split]
