import { sql } from 'millrace'
import { country } from '../country.ts'
import { birthDate, choice, educationLevel, phoneNumber, yearly } from '../mapping.ts'

const delivered = '2025-02-11'
const salariesPerYear = 1

const levels = [
  { code: 'High School Diploma', name: 'High school diploma', eqf: 4 },
  { code: 'Associate Degree', name: 'Associate degree', eqf: 5 },
  { code: 'Foundation Degree', name: 'Foundation degree', eqf: 5 },
  { code: 'Bachelor Degree', name: 'Bachelor’s degree', eqf: 6 },
  { code: 'Master’s', name: 'Master’s degree', eqf: 7 },
  { code: 'Doctorate', name: 'Doctorate', eqf: 8 },
]

// Only the state tells a user's time zone. Fourteen states (and the Navajo Nation) have a second zone, where few people live:
// a user there gets the zone of most of the state, an hour off.
const zones = {
  'America/New_York': 'CT DC DE FL GA IN KY MA MD ME MI NC NH NJ NY OH PA RI SC VA VT WV',
  'America/Chicago': 'AL AR IA IL KS LA MN MO MS ND NE OK SD TN TX WI',
  'America/Denver': 'CO ID MT NM UT WY',
  'America/Phoenix': 'AZ',
  'America/Los_Angeles': 'CA NV OR WA',
  'America/Anchorage': 'AK',
  'Pacific/Honolulu': 'HI',
  'America/Puerto_Rico': 'PR VI',
  'Pacific/Guam': 'GU MP',
  'Pacific/Pago_Pago': 'AS',
}

export default country({
  code: 'US',
  name: 'United States',
  iso: 'US',
  currency: 'USD',
  calling: '+1',
  // Area code and exchange begin with 2 to 9.
  phone: /^\+1[2-9][0-9]{2}[2-9][0-9]{6}$/,
  // 18,620.00 to 170,900.00: years; as months, the least would come to 223,000 a year.
  salariesPerYear,
  delivered,
  education: { framework: 'US degrees', levels },
  users: {
    path: 'data/USA User Data.csv',
    nulls: [''],
    exclude: ['Password'],
    map: {
      email: sql`lower("eMail")`,
      first_name: 'First Name',
      middle_names: 'Middle Initials',
      last_name: 'Last Name',
      birth_date: birthDate('DOB', '%m/%d/%y', 'Age Last Birthday', delivered),
      age_at_delivery: 'Age Last Birthday',
      // By the first names: Michael, Jacob and Joshua are 1; Hannah, Ashley and Emily are 0.
      gender: choice('Gender', { male: ['1'], female: ['0'] }),
      favourite_colour: 'Favorite Color',
      favourite_animal: 'Favorite Animal',
      favourite_food: 'Favorite Food',
      city: 'Town/City',
      region: 'State',
      postcode: 'Zip Code',
      time_zone: choice(
        'State Code',
        Object.fromEntries(Object.entries(zones).map(([zone, states]) => [zone, states.split(' ')])),
      ),
      phone: phoneNumber('Landline', '+1', '1'),
      mobile: phoneNumber('Cell Phone', '+1', '1'),
      education: 'Education',
      education_level: educationLevel('Education', levels),
      salary: yearly('Salary', salariesPerYear, { sign: '$', group: ',', decimal: '.' }),
      website_visits: 'Website Visits last 30 days',
    },
  },
  logins: {
    path: 'data/USA-User-LoginTS.csv',
    timestamp: 'epoch-seconds',
    map: { login_id: 'RowID', email: sql`lower("Username")`, logged_in_at: 'LoginTS' },
  },
})
