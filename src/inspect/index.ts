export { planOf } from './plan';
export { rehearsalOf } from './rehearse';
export { verificationOf } from './verify';
